import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest, FastifySchemaCompiler } from 'fastify'
import type { TSchema } from '@sinclair/typebox'
import { ServiceFailure } from '../../errors.ts'
import { findJsonFlaw, jsonDepthMax, type JsonFlaw } from '../../job/json-flaw.ts'
import { createAjv } from '../../schema-check.ts'
import { brokenRule } from '../problem.ts'

/** Bodies are taken as they are: with coercion null would become 0, and [5] would become 5. Paths and queries are text. */
export const createValidatorCompiler = (): FastifySchemaCompiler<TSchema> => {
  const ajvOf = { body: createAjv(false), text: createAjv(true) }
  return ({ schema, httpPart }) => {
    const ajv = httpPart === 'body' ? ajvOf.body : ajvOf.text
    return ajv.compile(schema) as ReturnType<FastifySchemaCompiler<TSchema>>
  }
}

const messages: Record<JsonFlaw, string> = {
  maxDepth: `must not be nested more than ${jsonDepthMax} levels deep`,
  numberRange: 'must not have numbers out of range, like 1e999',
  propertyNames: 'must not have a member called __proto__'
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

const parseBody = (bytes: Buffer): unknown => {
  if (bytes.length === 0) throw brokenRule('body', 'required', 'is required, as application/json')
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch {
    throw brokenRule('body', 'json', 'must be well-formed JSON, in UTF-8')
  }
  const found = findJsonFlaw(value)
  if (found !== undefined) throw brokenRule('body', found, messages[found])
  return value
}

const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i

/** Throws UNSUPPORTED_MEDIA_TYPE where a Content-Type names another character set. */
export const requireUtf8 = (contentType = ''): void => {
  const name = charset.exec(contentType)?.[1] ?? 'utf-8'
  if (!/^utf-?8$/i.test(name)) throw new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body in UTF-8.')
}

/** Takes JSON in UTF-8 only, without `__proto__`, of limited depth, and with numbers that can be written again. */
export const registerBodyParsers = (app: FastifyInstance): void => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    requireUtf8(request.headers['content-type'])
    return parseBody(body)
  })
}

/**
 * Gives bodies of these media types (`*`: any) to the route as a Readable, as they come. To be called in a plugin of its
 * own whose routes are `isStreamed`; JSON is then taken as before, unless it is among them.
 */
export const takeRawBodies = (app: FastifyInstance, mediaTypes: string[] | '*'): void => {
  if (mediaTypes === '*') app.removeAllContentTypeParsers()
  app.addContentTypeParser(mediaTypes, (_request, payload, done) => { done(null, payload) })
}

/**
 * The pieces of a raw body. However the reading ends, the connection stays for the answer. Throws VALIDATION_FAILED where
 * the body breaks off.
 */
export const piecesOf = async function * (body: Readable): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield * body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
  } catch (error) {
    throw new ServiceFailure('VALIDATION_FAILED', 'The body broke off.', {}, { cause: error })
  }
}

/** Takes an empty body, of whatever media type or none, for `{}`. To be called in a plugin of its own. */
export const takeEmptyBodies = (app: FastifyInstance): void => {
  app.addHook('onRequest', ({ raw: { headers } }, _reply, done) => {
    // An empty form, as `curl -d ''` says it, is as empty as any body.
    if (headers['transfer-encoding'] === undefined && ['0', undefined].includes(headers['content-length'])) delete headers['content-type']
    done()
  })
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    requireUtf8(request.headers['content-type'])
    return body.length === 0 ? {} : parseBody(body)
  })
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.body === undefined) request.body = {}
    done()
  })
}
