import type { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { ServiceFailure } from '../../errors.ts'

/**
 * Passes bodies of these media types (`*`: any) to the route unparsed, as a Readable. Call it in an encapsulated plugin
 * whose routes are `isStreamed`; JSON is still parsed there unless it is one of the types.
 */
export const takeRawBodies = (app: FastifyInstance, mediaTypes: string[] | '*'): void => {
  if (mediaTypes === '*') app.removeAllContentTypeParsers()
  app.addContentTypeParser(mediaTypes, (_request, payload, done) => { done(null, payload) })
}

/**
 * The chunks of a raw body. Stopping early does not destroy the body, so that the connection can still carry the
 * response. Throws VALIDATION_FAILED if the client aborts the body.
 */
export const chunksOf = async function * (body: Readable): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield * body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
  } catch (error) {
    throw new ServiceFailure('VALIDATION_FAILED', 'The body ended before it was complete.', {}, { cause: error })
  }
}
