// A service on Fastify that sends the same bytes to all of its streams, 25 times a second while any are open.
import fastify, { type FastifyReply } from 'fastify'
import { address, announce, endOnSigterm, setting } from './lifetime.ts'

const timesPerSecond = 25
const text = 'x'.repeat(Math.round(Number(setting('BYTES_PER_SECOND')) / timesPerSecond))
const responses = new Set<FastifyReply['raw']>()

const app = fastify()
app.get('/stream', (_request, reply) => {
  reply.hijack()
  reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('retry: 2000\n\n')
  responses.add(reply.raw)
  reply.raw.once('close', () => { responses.delete(reply.raw) })
})
setInterval(() => { for (const response of responses) response.write(text) }, 1000 / timesPerSecond)
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
