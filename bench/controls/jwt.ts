// The same as bare.ts, but verifies the token on each request, as @fastify/jwt documents it.
import fastifyJwt from '@fastify/jwt'
import fastify from 'fastify'
import { address, announce, endOnSigterm, setting } from './lifetime.ts'
import { contentType, staticBody } from './static-body.ts'

const app = fastify()
await app.register(fastifyJwt, { secret: setting('JWT_SECRET'), verify: { algorithms: ['HS256'] } })
app.addHook('onRequest', async request => { await request.jwtVerify() })
app.get('/', (_request, reply) => {
  void reply.header('content-type', contentType).send(staticBody)
})
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
