// What the bytes of an answer cost: as bare.ts, with the status code, the headers and the body of the service's answer.
import fastify from 'fastify'
import type { Answer } from '../answer.ts'
import { address, announce, endOnSigterm, setting } from './lifetime.ts'

const { status, headers, body } = JSON.parse(setting('ANSWER')) as Answer

const app = fastify()
app.get('/', (_request, reply) => {
  // An empty body would get a Content-Type.
  void reply.code(status).headers(headers).send(body === '' ? undefined : body)
})
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
