// BullMQ: getJob() and getState(), as documented, behind Fastify and a token check.
import { Queue } from 'bullmq'
import { address, announce, endOnSigterm, setting } from '../controls/lifetime.ts'
import { createApp } from './app.ts'

const dayMs = 24 * 3600 * 1000
const seedChunk = 1000
const jobCount = Number(setting('JOBS'))

const queue = new Queue('status', {
  // A web server fails fast instead of queueing commands while Redis is down (BullMQ's guide for producers).
  connection: { url: setting('REDIS_URL'), enableOfflineQueue: false, maxRetriesPerRequest: 1 },
  prefix: 'bench-peer'
})
queue.on('error', error => { console.error(error) })
await queue.waitUntilReady()
const removeAll = () => queue.obliterate({ force: true, count: 10_000 })
// Remove the jobs of a run that was killed.
await removeAll()

const app = await createApp()
app.addHook('onClose', async () => {
  await removeAll()
  await queue.close()
})
endOnSigterm(app.server, () => app.close())

app.get<{ Params: { id: string } }>('/:id', async (request, reply) => {
  const job = await queue.getJob(request.params.id)
  if (job === undefined) return await reply.code(404).send({ message: 'no such job' })
  const state = await job.getState()
  return {
    id: job.id,
    state,
    progress: job.progress,
    startedOn: job.processedOn ?? null,
    finishedOn: job.finishedOn ?? null,
    result: job.returnvalue as unknown ?? null,
    failedReason: job.failedReason ?? null
  }
})

// The jobs are delayed: those are in a sorted set, where getState() finds them at once. For a waiting job it scans
// the list of all waiting jobs, so the bench would measure the length of the queue and not the read of a job.
for (let start = 0; start < jobCount; start += seedChunk) {
  const length = Math.min(seedChunk, jobCount - start)
  await queue.addBulk(Array.from({ length }, (_, i) => ({
    name: 'report', data: { number: start + i }, opts: { jobId: `job-${start + i}`, delay: dayMs }
  })))
}
announce(await app.listen(address()))
