import { Ajv, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { FastifyInstance, FastifyRequest, FastifySchemaCompiler } from 'fastify'
import type { TSchema } from '@sinclair/typebox'
import { ServiceFailure } from '../errors.ts'
import { validationFailure, type Violation } from './problem.ts'

// Deeper bodies are refused: recursion in whatever handles them later must stay harmless.
const depthMax = 64

const options = { allErrors: true, useDefaults: true, removeAdditional: false, strict: false, discriminator: true } as const

const createAjv = (coerceTypes: boolean): Ajv => {
  const ajv = new Ajv({ ...options, coerceTypes })
  // The package's default export arrives one level deeper under Node's CommonJS interop.
  formats.default(ajv)
  return ajv
}

/** Compiles the check of a schema, without coercion; the check returns what is broken. */
export const createCheck = (schema: TSchema): ((value: unknown) => Violation[]) => {
  const check: ValidateFunction = createAjv(false).compile(schema)
  return value => check(value) ? [] : check.errors ?? []
}

/** Bodies are taken as they are: with coercion null would become 0, and [5] would become 5. Paths and queries are text. */
export const createValidatorCompiler = (): FastifySchemaCompiler<TSchema> => {
  const ajvOf = { body: createAjv(false), text: createAjv(true) }
  return ({ schema, httpPart }) => {
    const ajv = httpPart === 'body' ? ajvOf.body : ajvOf.text
    return ajv.compile(schema) as ReturnType<FastifySchemaCompiler<TSchema>>
  }
}

const flaw = (rule: string, message: string): ServiceFailure => validationFailure([{ field: 'body', rule, message: `body ${message}` }])

const findFlaw = (value: unknown): ServiceFailure | undefined => {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) return flaw('maxDepth', `must not be nested more than ${depthMax} levels deep`)
    // JSON.parse makes them Infinity, which cannot be written as JSON again.
    if (level.some(item => item === Infinity || item === -Infinity)) return flaw('numberRange', 'must not have numbers out of range, like 1e999')
    const objects = level.filter(item => typeof item === 'object' && item !== null)
    if (objects.some(item => Object.hasOwn(item, '__proto__'))) return flaw('propertyNames', 'must not have a member called __proto__')
    level = objects.flatMap(item => Object.values(item) as unknown[])
  }
  return undefined
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

const parseBody = (bytes: Buffer): unknown => {
  if (bytes.length === 0) throw flaw('required', 'is required, as application/json')
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch {
    throw flaw('json', 'must be well-formed JSON, in UTF-8')
  }
  const found = findFlaw(value)
  if (found !== undefined) throw found
  return value
}

const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i

const requireUtf8 = (contentType = ''): void => {
  const name = charset.exec(contentType)?.[1] ?? 'utf-8'
  if (!/^utf-?8$/i.test(name)) throw new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body as application/json in UTF-8.')
}

/** Takes JSON in UTF-8 only, without `__proto__`, of limited depth, and with numbers that can be written again. */
export const registerBodyParsers = (app: FastifyInstance): void => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    requireUtf8(request.headers['content-type'])
    return parseBody(body)
  })
}
