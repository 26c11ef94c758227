import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../errors.ts'
import { findJsonFlaw, jsonDepthMax, type JsonFlaw } from '../../job/json/flaw.ts'
import { jsonTextDepth, memberText } from '../../job/json/text.ts'
import { brokenRule } from '../problem.ts'

const messages: Record<JsonFlaw, string> = {
  maxDepth: `must not be nested more than ${jsonDepthMax} levels deep`,
  numberRange: 'must not have numbers out of range, like 1e999',
  propertyNames: 'must not have a member called __proto__'
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
const utf8Replacing = new TextDecoder('utf-8')

/**
 * How a route takes bodies that others reject. `revise` brings parsed JSON, an empty body too, into the documented form
 * before it is checked. `replacesBytes`: bytes that are not UTF-8 become U+FFFD.
 */
export type Leniency = { revise: (value: unknown) => unknown, replacesBytes: boolean }

const strict: Leniency = { revise: value => value, replacesBytes: false }

// The text of each body that is an object, as long as the object lives.
const textOf = new WeakMap<object, string>()

const parseJsonBody = (bytes: Buffer, { revise, replacesBytes }: Leniency): unknown => {
  if (bytes.length === 0) throw brokenRule('body', 'required', 'is required, as application/json')
  let text: string
  let value: unknown
  try {
    text = (replacesBytes ? utf8Replacing : utf8).decode(bytes)
    value = revise(JSON.parse(text))
  } catch {
    throw brokenRule('body', 'json', 'must be well-formed JSON, in UTF-8')
  }
  const flaw = findJsonFlaw(value)
  if (flaw !== undefined) throw brokenRule('body', flaw, messages[flaw])
  if (typeof value === 'object' && value !== null) textOf.set(value, text)
  return value
}

/**
 * The text of a member of a JSON body as the client wrote it, with every digit of its numbers; `path` has the names
 * from the body inwards.
 */
export const bodyMemberText = (body: object, ...path: string[]): string | undefined => path.reduce<string | undefined>(
  (outer, name) => outer === undefined ? undefined : memberText(outer, name), textOf.get(body))

/** `bodyMemberText` of a member whose text is stored. Throws VALIDATION_FAILED if it is nested too deeply. */
export const storableMemberText = (body: object, name: string): string | undefined => {
  const text = bodyMemberText(body, name)
  if (text !== undefined && jsonTextDepth(text) > jsonDepthMax) throw brokenRule(name, 'maxDepth', messages.maxDepth)
  return text
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
  addJsonParser(app, bytes => parseJsonBody(bytes, strict))
}

/**
 * Reads an empty body as `{}`, whatever its media type. Call it in an encapsulated plugin: it replaces the parser of
 * all routes registered there.
 */
export const takeEmptyBodies = (app: FastifyInstance, leniency = strict): void => {
  app.addHook('onRequest', ({ raw: { headers } }, _reply, done) => {
    // `curl -d ''` sends an empty body as a form: without its media type it is accepted like any other empty body.
    const isEmpty = headers['transfer-encoding'] === undefined && ['0', undefined].includes(headers['content-length'])
    if (isEmpty) delete headers['content-type']
    done()
  })
  app.removeContentTypeParser('application/json')
  addJsonParser(app, bytes => bytes.length === 0 ? undefined : parseJsonBody(bytes, leniency))
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.body === undefined) request.body = leniency.revise({})
    done()
  })
}
