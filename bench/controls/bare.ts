// The limit of what a service on Fastify can reach: its default settings, one route, a body that is ready.
import fastify from 'fastify'
import { address, announce, endOnSigterm } from './lifetime.ts'
import { contentType, staticBody } from './static-body.ts'

const app = fastify()
app.get('/', (_request, reply) => {
  void reply.header('content-type', contentType).send(staticBody)
})
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
