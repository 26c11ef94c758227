// A service on Fastify that holds its replies: on /reply it answers nothing, on /stream it begins a stream of events.
import fastify from 'fastify'
import { address, announce, endOnSigterm } from './lifetime.ts'

const app = fastify()
app.get('/reply', () => {})
app.get('/stream', (_request, reply) => {
  reply.hijack()
  reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('retry: 2000\n\n')
})
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
