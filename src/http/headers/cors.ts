import type { IncomingMessage } from 'node:http'
import fastifyCors from '@fastify/cors'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Origins } from '../../config/lists.ts'

/*
 * Cross-origin requests of browsers (https://fetch.spec.whatwg.org/#http-cors-protocol). Tokens travel in a header that
 * a page sets itself, so credentials are never allowed.
 */

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']

const allowedHeaders = [
  'Authorization', 'Content-Type', 'If-None-Match', 'If-Match', 'Idempotency-Key', 'Prefer', 'Range', 'If-Range',
  'Lease-Token', 'Last-Event-ID'
]

/** Every response header of the service, except those that any page may read (Cache-Control, Content-Type, Expires). */
export const exposedHeaders: readonly string[] = [
  'Accept-Ranges', 'Allow', 'Cancel-Requested', 'Changes-Cursor', 'Content-Disposition', 'Content-Length',
  'Content-Range', 'Content-Security-Policy', 'ETag', 'Idempotency-Replayed', 'Job-Attempt', 'Job-Progress',
  'Job-Result', 'Job-Result-Offset', 'Job-State', 'Link', 'Location', 'Operation-Location', 'Preference-Applied',
  'Repr-Digest', 'Retry-After', 'retry-after-ms', 'Vary', 'WWW-Authenticate', 'X-Accel-Buffering',
  'X-Content-Type-Options', 'X-Request-Id'
]
const exposed = exposedHeaders.join(', ')

const preflightSeconds = 600

const addOrigin = (vary: ReturnType<FastifyReply['getHeader']> = ''): string => {
  const names = [vary].flat().join(', ')
  return /(^|[\s,])(origin|\*)($|[\s,])/i.test(names) ? names : [names, 'Origin'].filter(name => name !== '').join(', ')
}

/** Adds to the header fields (names and values in turn) of a response past Fastify what the plugin adds to others. */
export type AddCorsFields = (request: IncomingMessage, fields: readonly string[]) => string[]

export const createAddCorsFields = (origins: Origins): AddCorsFields => ({ headers: { origin } }, fields) => {
  const all = [...fields, 'access-control-expose-headers', exposed]
  if (origins === '*') return [...all, 'access-control-allow-origin', '*']
  const varyAt = all.indexOf('vary') + 1
  if (varyAt === 0) all.push('vary', 'Origin')
  else all[varyAt] = addOrigin(all[varyAt])
  return origin !== undefined && origins.includes(origin) ? [...all, 'access-control-allow-origin', origin] : all
}

const isPreflight = ({ method, headers }: FastifyRequest): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined

/**
 * Sets the headers of every response, and answers preflights. To be registered before authentication: a preflight
 * carries no token, and a page reads a rejection only if it has the headers too.
 */
export const registerCors = async (app: FastifyInstance, origins: Origins): Promise<void> => {
  await app.register(fastifyCors, {
    origin: origins === '*' ? '*' : [...origins],
    methods,
    allowedHeaders,
    exposedHeaders: exposed,
    maxAge: preflightSeconds,
    // An OPTIONS request that is no preflight is answered like any other request.
    strictPreflight: false,
    preflightContinue: true
  })
  app.addHook('onRequest', (request, reply, done) => {
    if (!isPreflight(request)) return done()
    reply.code(204).send()
  })
  if (origins === '*') return
  app.addHook('onSend', (_request, reply, payload, done) => {
    // The route has set its own value over that of the plugin.
    reply.header('vary', addOrigin(reply.getHeader('vary')))
    done(null, payload)
  })
}
