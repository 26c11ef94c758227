import fastifyJwt from '@fastify/jwt'
import fastify, { type FastifyInstance } from 'fastify'
import { setting } from '../controls/lifetime.ts'

/** Fastify with the token verified on each request: what stands in front of a queue that has no HTTP of its own. */
export const createApp = async (): Promise<FastifyInstance> => {
  const app = fastify()
  await app.register(fastifyJwt, { secret: setting('JWT_SECRET'), verify: { algorithms: ['HS256'] } })
  app.addHook('onRequest', async request => { await request.jwtVerify() })
  return app
}
