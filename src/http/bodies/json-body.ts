import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../errors.ts'
import { findJsonFlaw, jsonDepthMax, type JsonFlaw } from '../../job/json-flaw.ts'
import { brokenRule } from '../problem.ts'

const messages: Record<JsonFlaw, string> = {
  maxDepth: `must not be nested more than ${jsonDepthMax} levels deep`,
  numberRange: 'must not have numbers out of range, like 1e999',
  propertyNames: 'must not have a member called __proto__'
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

const parseJsonBody = (bytes: Buffer): unknown => {
  if (bytes.length === 0) throw brokenRule('body', 'required', 'is required, as application/json')
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch {
    throw brokenRule('body', 'json', 'must be well-formed JSON, in UTF-8')
  }
  const flaw = findJsonFlaw(value)
  if (flaw !== undefined) throw brokenRule('body', flaw, messages[flaw])
  return value
}

const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i

/** Throws UNSUPPORTED_MEDIA_TYPE if a Content-Type names a character set other than UTF-8. */
export const requireUtf8 = (contentType = ''): void => {
  const name = charset.exec(contentType)?.[1] ?? 'utf-8'
  if (!/^utf-?8$/i.test(name)) throw new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body in UTF-8.')
}

const addJsonParser = (app: FastifyInstance, parse: (bytes: Buffer) => unknown): void => {
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    requireUtf8(request.headers['content-type'])
    return parse(body)
  })
}

/** Accepts JSON bodies only: in UTF-8, of limited depth, without `__proto__`, with numbers that JSON can represent. */
export const registerJsonBodies = (app: FastifyInstance): void => {
  app.removeAllContentTypeParsers()
  addJsonParser(app, parseJsonBody)
}

/**
 * Reads an empty body as `{}`, whatever its media type. Call it in an encapsulated plugin: it replaces the parser of
 * all routes registered there.
 */
export const takeEmptyBodies = (app: FastifyInstance): void => {
  app.addHook('onRequest', ({ raw: { headers } }, _reply, done) => {
    // `curl -d ''` sends an empty body as a form: without its media type it is accepted like any other empty body.
    const isEmpty = headers['transfer-encoding'] === undefined && ['0', undefined].includes(headers['content-length'])
    if (isEmpty) delete headers['content-type']
    done()
  })
  app.removeContentTypeParser('application/json')
  addJsonParser(app, bytes => bytes.length === 0 ? {} : parseJsonBody(bytes))
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.body === undefined) request.body = {}
    done()
  })
}
