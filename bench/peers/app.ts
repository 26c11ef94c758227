import fastifyJwt from '@fastify/jwt'
import fastify, { type FastifyInstance } from 'fastify'
import { setting } from '../controls/lifetime.ts'

/** Creates a Fastify server that verifies the token on each request, for queues without an HTTP interface. */
export const createApp = async (): Promise<FastifyInstance> => {
  const app = fastify()
  await app.register(fastifyJwt, { secret: setting('JWT_SECRET'), verify: { algorithms: ['HS256'] } })
  app.addHook('onRequest', async request => { await request.jwtVerify() })
  return app
}
