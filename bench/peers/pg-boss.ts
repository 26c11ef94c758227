// pg-boss: getJobById() on Postgres, behind Fastify and a token check.
import { PgBoss } from 'pg-boss'
import { address, announce, endOnSigterm, setting } from '../controls/lifetime.ts'
import { createApp } from './app.ts'

const queue = 'status'
const schema = 'bench_peer'
const seedChunk = 10_000
const jobCount = Number(setting('JOBS'))

// The maintenance of queues is left to other processes than the one that serves clients.
const boss = new PgBoss({ connectionString: setting('POSTGRES_URL'), schema, supervise: false, schedule: false })
boss.on('error', error => { console.error(error) })

const app = await createApp()
app.addHook('onClose', async () => {
  await boss.getDb().executeSql(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  await boss.stop({ graceful: false })
})
endOnSigterm(app.server, () => app.close())

const jobIdExpression = /^job-\d{1,9}$/

// pg-boss accepts only UUIDs as ids.
const toUuid = (jobId: string): string => `00000000-0000-4000-8000-${jobId.slice('job-'.length).padStart(12, '0')}`

app.get<{ Params: { id: string } }>('/:id', async (request, reply) => {
  const { id } = request.params
  const job = jobIdExpression.test(id) ? await boss.getJobById(queue, toUuid(id)) : null
  if (job === null) return await reply.code(404).send({ message: 'no such job' })
  return {
    id,
    state: job.state,
    createdOn: job.createdOn,
    startedOn: job.startedOn,
    completedOn: job.completedOn,
    output: job.output
  }
})

await boss.start()
// Remove the queue of a run that was killed.
await boss.deleteQueue(queue)
await boss.createQueue(queue)
for (let start = 0; start < jobCount; start += seedChunk) {
  const length = Math.min(seedChunk, jobCount - start)
  await boss.insert(queue, Array.from({ length }, (_, i) => ({
    id: toUuid(`job-${start + i}`), data: { number: start + i }
  })))
}
// Without ANALYZE the planner of Postgres does not know the size of a new table.
await boss.getDb().executeSql(`ANALYZE ${schema}.job`)
announce(await app.listen(address()))
