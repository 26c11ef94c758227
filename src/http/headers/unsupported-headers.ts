import type { FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../errors.ts'
import { brokenRule } from '../problem.ts'
import { routeOf } from '../route-of.ts'

/*
 * Request headers that change what a request means: a route honours them, or the request is rejected before its body is
 * read. Ignored are those that RFC 9110 lets a server ignore because the response shows it: Range and If-Range (the
 * response is 200), If-Modified-Since and the If-None-Match of a read (the response has the whole body), Accept.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route evaluates If-Match and If-None-Match. */
    evaluatesTags?: boolean
    /** The route puts the body where Content-Range says. */
    takesContentRange?: boolean
  }
}

/** PRECONDITION_FAILED. */
export const preconditionFailed = (detail: string): ServiceFailure => new ServiceFailure('PRECONDITION_FAILED', detail)

const isRead = ({ method }: FastifyRequest): boolean => method === 'GET' || method === 'HEAD'

// Files of the documentation have a date, and tags of their own, which their plugin evaluates.
const isFile = (request: FastifyRequest): boolean => routeOf(request).url?.startsWith('/docs') === true

const findPrecondition = (request: FastifyRequest): ServiceFailure | undefined => {
  const { headers } = request
  const ifMatch = headers['if-match']
  // RFC 9110, 13.1.4: it counts where there is no If-Match. Without a date of change it cannot be shown to hold.
  if (ifMatch === undefined && headers['if-unmodified-since'] !== undefined) {
    return preconditionFailed('No date of a change is known: send the ETag in If-Match instead of If-Unmodified-Since.')
  }
  if (routeOf(request).config.evaluatesTags === true) return undefined
  const isConditional = ifMatch !== undefined || (!isRead(request) && headers['if-none-match'] !== undefined)
  return isConditional ? preconditionFailed('This route evaluates neither If-Match nor If-None-Match.') : undefined
}

const overrides = ['x-http-method-override', 'x-http-method', 'x-method-override'] as const

const findOverride = ({ headers, method }: FastifyRequest): ServiceFailure | undefined => {
  const name = overrides.find(name => headers[name] !== undefined && String(headers[name]).toUpperCase() !== method)
  return name === undefined ? undefined : brokenRule(name, 'const', `must be ${method}, the method of the request`)
}

/** The failure of a request with such a header that its route does not honour. */
export const findUnsupportedHeader = (request: FastifyRequest): ServiceFailure | undefined => {
  const { headers } = request
  const { 'content-encoding': encoding } = headers
  if (encoding !== undefined && !/^(identity)?$/i.test(encoding)) {
    return new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body without a Content-Encoding.')
  }
  // RFC 9110, 14.4: a server that took a part for the whole would replace the whole with it.
  const takesContentRange = () => routeOf(request).config.takesContentRange === true
  if (headers['content-range'] !== undefined && !isRead(request) && !takesContentRange()) {
    return brokenRule('content-range', 'not', 'is supported by uploads of results only')
  }
  return findOverride(request) ?? (isFile(request) ? undefined : findPrecondition(request))
}
