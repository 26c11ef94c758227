// pg-boss as a queue for workers: send(), fetch() and complete(), behind Fastify and a token check.
import { PgBoss } from 'pg-boss'
import { address, announce, endOnSigterm, setting } from '../controls/lifetime.ts'
import { createApp } from './app.ts'

const queue = 'work'

// The maintenance of queues is left to other processes than the one that serves clients.
const boss = new PgBoss({ connectionString: setting('POSTGRES_URL'), supervise: false, schedule: false })
boss.on('error', error => { console.error(error) })

const app = await createApp()
app.addHook('onClose', () => boss.stop({ graceful: false }))
endOnSigterm(app.server, () => app.close())

app.post<{ Body: object }>('/send', async (request, reply) =>
  await reply.code(202).send({ id: await boss.send(queue, request.body) }))

app.post('/fetch', async (_request, reply) => {
  const [job] = await boss.fetch(queue)
  return job === undefined ? await reply.code(204).send() : { id: job.id, data: job.data }
})

app.post<{ Params: { id: string }, Body: object }>('/complete/:id', async request => {
  await boss.complete(queue, request.params.id, request.body)
  return { id: request.params.id }
})

await boss.start()
await boss.createQueue(queue)
announce(await app.listen(address()))
