import t, { type Test } from 'tap'
import { createViews } from '../../src/views/views.ts'
import type { JobLookup } from '../../src/job/job.ts'
import { createEntryLoader } from '../../src/status/load-entry.ts'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { openParts } from '../helpers/parts.ts'

const open = async (t: Test) => {
  const { store, sql, advance } = await openParts(t, { cache: createMemoryCache({ now: () => 1, random: () => 0 }) })
  const invalid: string[] = []
  const views = createViews({ publicUrl: null, onInvalid: jobId => { invalid.push(jobId) } })
  const found: string[] = []
  const find = async (jobId: string): Promise<JobLookup> => {
    found.push(jobId)
    return await store.jobs.find(jobId)
  }
  const load = createEntryLoader({ find, findVersion: store.jobs.findVersion, views })
  return {
    load, found, invalid, sql, advance, fresh: async (jobId: string) => views.toEntry(await store.jobs.find(jobId))
  }
}

t.test('a record that has not changed is not read again; the answer is the same', async t => {
  const { load, found, sql } = await open(t)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  const first = await load('job-1')
  t.equal(await load('job-1'), first)
  t.same(found, ['job-1'])
})

t.test('every change is read at once, also one of another program', async t => {
  const { load, sql, advance, fresh } = await open(t)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  await load('job-1')
  for (const percent of [10, 20, 30]) {
    const version = advance(percent)
    t.match(await load('job-1'), { version, percent })
    t.same(await load('job-1'), await fresh('job-1'))
  }
  sql("DELETE FROM JobExecutionLog WHERE jobId = 'job-1'")
  t.match(await load('job-1'), { state: 'expired' })
  sql("INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('job-1', 'Queued', 'acme')")
  t.match(await load('job-1'), { state: 'queued', tenant: 'acme' })
  t.same(await load('job-1'), await fresh('job-1'))
})

t.test('a job that is absent, expired or damaged is read again each time', async t => {
  const { load, found, invalid, sql } = await open(t)
  sql(
    "PRAGMA ignore_check_constraints = ON; INSERT INTO JobExecutionLog (jobId, status) VALUES ('bad', 'Odd'), ('gone', 'Failed')"
  )
  sql("DELETE FROM JobExecutionLog WHERE jobId = 'gone'")
  for (const jobId of ['no-such-job', 'gone', 'bad']) {
    const [first, second] = [await load(jobId), await load(jobId)]
    t.same(first, second, jobId)
  }
  t.same(found, ['no-such-job', 'no-such-job', 'gone', 'gone', 'bad', 'bad'])
  t.same(invalid, ['bad', 'bad'], 'and each read is logged')
})
