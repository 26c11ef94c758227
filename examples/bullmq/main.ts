import { startMirror } from './mirror.ts'
import { openTable } from './table.ts'

/*
 * REDIS_URL=redis://… DATABASE_URL=sqlite:/srv/job-status/data/jobs.db QUEUES=emails,reports node main.ts
 */

const { REDIS_URL: redisUrl = 'redis://127.0.0.1:6379', TENANT: tenant } = process.env
const { DATABASE_URL: databaseUrl, QUEUES: queues } = process.env
if (databaseUrl === undefined || queues === undefined) {
  console.error('DATABASE_URL (that of the service) and QUEUES (names, separated by commas) must be set')
  process.exit(1)
}

const table = await openTable(databaseUrl)
const mirrors = await Promise.all(queues.split(',').map(async queue => await startMirror({
  queue,
  connection: { url: redisUrl, maxRetriesPerRequest: null },
  table,
  tenant: tenant ?? null,
  onError: error => { console.error(error instanceof Error ? error.message : error) }
})))
console.log(`mirroring ${queues}`)

const stop = async (): Promise<void> => {
  await Promise.all(mirrors.map(async mirror => { await mirror.close() }))
  await table.close()
}
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { stop().catch(console.error) })
