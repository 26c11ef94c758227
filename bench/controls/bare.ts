// The upper limit for a service on Fastify: the default settings, one route and a static body.
import fastify from 'fastify'
import { address, announce, endOnSigterm } from './lifetime.ts'
import { contentType, staticBody } from './static-body.ts'

const app = fastify()
app.get('/', (_request, reply) => {
  void reply.header('content-type', contentType).send(staticBody)
})
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
