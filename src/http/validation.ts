import { Ajv, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { FastifyInstance, FastifySchemaCompiler } from 'fastify'
import type { TSchema } from '@sinclair/typebox'
import type { FieldError } from '../errors.ts'
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

const tooDeep: FieldError = { field: 'body', rule: 'maxDepth', message: `body must not be nested more than ${depthMax} levels deep` }
// JSON.parse makes them Infinity, which cannot be written as JSON again.
const tooLarge: FieldError = { field: 'body', rule: 'numberRange', message: 'body must not have numbers out of range, like 1e999' }

const findFlaw = (value: unknown): FieldError | undefined => {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) return tooDeep
    if (level.some(item => item === Infinity || item === -Infinity)) return tooLarge
    level = level.flatMap(item => typeof item === 'object' && item !== null ? Object.values(item) as unknown[] : [])
  }
  return undefined
}

/** Takes JSON bodies only, without `__proto__`, of limited depth, and with numbers that can be written again. */
export const registerBodyParsers = (app: FastifyInstance): void => {
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // Callback style, as the default parser has it.
    void parseJson(request, body as string, (error, value) => {
      const flaw = error === null ? findFlaw(value) : undefined
      if (flaw === undefined) done(error, value)
      else done(validationFailure([flaw]))
    })
  })
}
