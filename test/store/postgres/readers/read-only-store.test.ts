import pg from 'pg'
import t from 'tap'
import { openReadOnlyStore } from '../../../../src/store/postgres/readers/read-only-store.ts'
import { readOnlyConformance } from '../../conformance/read-only.ts'
import { startMigrated } from '../migrated.ts'

const { open, server } = await startMigrated(t)

readOnlyConformance(t, async t => {
  const { url, run } = await open(t)
  const store = openReadOnlyStore(url)
  t.teardown(store.close)
  return {
    store,
    run,
    insertChunk: (startOffset, size) => run(`INSERT INTO JobInputChunk (inputId, startOffset, bytes)
      VALUES ('one', ${startOffset}, convert_to(repeat('x', ${size}), 'UTF8'))`)
  }
})

const everything = { tenant: 'operator', allTenants: true }

t.test('a connection that is lost while pages are read costs nothing', async t => {
  const { url, run } = await open(t)
  await run("INSERT INTO JobExecutionLog (jobId, status) SELECT 'job-' || i, 'Queued' FROM generate_series(1, 4001) AS i")
  const store = openReadOnlyStore(url)
  t.teardown(store.close)
  const { pages } = await store.records(everything, undefined)
  const read: number[] = []
  for await (const page of pages) {
    read.push(page.length)
    await server.kill()
    await server.restart()
  }
  t.same(read, [2000, 2000, 1])
})

t.test('the pages of one report are of one database', async t => {
  const { url } = await open(t)
  const { url: other } = await open(t)
  const [name, otherName] = [url, other].map(each => new URL(each).pathname.slice(1))
  const store = openReadOnlyStore(url)
  t.teardown(store.close)
  t.equal((await store.records(everything, undefined)).total, 0)
  const admin = new pg.Client({ connectionString: server.urlOf('postgres') })
  await admin.connect()
  t.teardown(() => admin.end())
  for (const statement of [
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname IN ('${name}', '${otherName}')`,
    `ALTER DATABASE ${name} RENAME TO replaced`, `ALTER DATABASE ${otherName} RENAME TO ${name}`
  ]) await admin.query(statement)
  await t.rejects(store.records(everything, undefined), { cause: { name: 'DatabaseReplaced' } })
  await admin.query(`ALTER DATABASE ${name} RENAME TO ${otherName}`)
  await admin.query(`ALTER DATABASE replaced RENAME TO ${name}`)
})
