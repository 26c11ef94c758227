import t from 'tap'
import { isTerminal, type Job, recordStatuses, toRecordStatus } from '../../src/job/job.ts'
import { noProgress } from '../../src/job/progress.ts'
import { insertJob } from '../../src/store/tx/jobs.ts'
import { insertResult } from '../../src/store/tx/results.ts'
import { toColumns } from '../../src/store/records.ts'
import { jobOf } from '../store/jobs.ts'
import { openForeign, openStore } from '../store/open.ts'
import { cells, facts, jobs, results } from './transitions.ts'

/*
 * The database restates the state machine: it accepts every change that the table allows, and from no writer a change
 * that leaves a terminal status.
 */

const { path, transact, store } = await openStore(t)
const foreign = openForeign(t, path)
foreign.pragma('synchronous = OFF')

const clear = () => {
  foreign.exec('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; DELETE FROM JobResultChunk')
}

const put = async (job: Job) => {
  clear()
  await transact(async tx => {
    await insertJob(tx, job)
    if (job.state !== 'succeeded' || job.result === null) return
    await tx.insertInto('JobResultChunk').values({
      jobId: job.jobId, startOffset: 0, bytes: Buffer.from('abc')
    }).execute()
    await insertResult(tx, job.jobId, facts)
  })
}

/** Writes a job's columns as any program would. */
const update = (job: Job) => {
  const columns = toColumns(job)
  foreign.prepare(
    `UPDATE JobExecutionLog SET ${Object.keys(columns).map(name => `${name} = @${name}`).join(', ')} WHERE jobId = 'j'`
  ).run(columns)
}

// As the record alone holds it: a queued job has no progress, and the facts of a result are in a table of their own.
const asStored = (job: Job): object => ({
  ...Object.fromEntries(Object.entries(job).filter(([name]) => name !== 'version' && name !== 'result')),
  ...(job.state === 'queued' ? { progress: noProgress } : {})
})

t.test('accepts every change that the table allows', async t => {
  for (const { from, by, job, outcome } of cells) {
    if ('rejection' in outcome) continue
    await put(job)
    const { version } = jobOf(await store.jobs.find('j'))
    const next = results[outcome.result](job)
    update(next)
    const found = jobOf(await store.jobs.find('j'))
    t.match(found, asStored(next), `${by} of a job that is ${from}`)
    t.equal(found.state, next.state)
    const isVisible = JSON.stringify(toColumns(next)) !== JSON.stringify(toColumns(job))
    t.equal(found.version > version, isVisible, isVisible ? 'with a new version' : 'without a new version')
  }
})

t.test('in a terminal state, rejects the writes of events that the table rejects', async t => {
  const wouldBe = [...new Set(
    cells.flatMap(({ job, outcome }) => 'rejection' in outcome || isTerminal(job) ? [] : [results[outcome.result](job)])
  )]
  for (const [name, job] of Object.entries(jobs).filter(([, job]) => isTerminal(job))) {
    await put(job)
    const before = await store.jobs.find('j')
    for (const next of wouldBe) {
      if (toRecordStatus(next.state) === toRecordStatus(job.state)) continue
      t.throws(
        () => { update(next) }, { code: 'SQLITE_CONSTRAINT_TRIGGER', message: /BR-001/ }, `${name} to ${next.state}`
      )
    }
    t.same(await store.jobs.find('j'), before, 'and nothing of it stays')
  }
})

/** Ways in which programs write a status over one that is there. */
const ways: Record<string, (status: string) => string> = {
  UPDATE: status => `UPDATE JobExecutionLog SET status = '${status}' WHERE jobId = 'j'`,
  'UPDATE OR IGNORE': status => `UPDATE OR IGNORE JobExecutionLog SET status = '${status}' WHERE jobId = 'j'`,
  'UPDATE OR REPLACE': status => `UPDATE OR REPLACE JobExecutionLog SET status = '${status}' WHERE jobId = 'j'`,
  REPLACE: status => `REPLACE INTO JobExecutionLog (jobId, status) VALUES ('j', '${status}')`,
  'REPLACE of the row': status =>
    `REPLACE INTO JobExecutionLog (rowid, jobId, status) SELECT rowid, jobId, '${status}' FROM JobExecutionLog`,
  'ON CONFLICT': status =>
    `INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${status}') ON CONFLICT (jobId) DO UPDATE SET status = excluded.status`,
  'DELETE and INSERT': status =>
    `DELETE FROM JobExecutionLog WHERE jobId = 'j'; INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${status}')`,
  'DELETE and INSERT at once': status =>
    `BEGIN; DELETE FROM JobExecutionLog; INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${status}'); COMMIT`
}

for (const recursive of ['OFF', 'ON']) {
  t.test(`rejects every way out of a terminal status, recursive_triggers ${recursive}`, async t => {
    const writer = openForeign(t, path, `recursive_triggers = ${recursive}`)
    for (const name of ['queued', 'running', 'succeeded, stored', 'failed', 'cancelled'] as const) {
      const job = jobs[name]
      for (const to of recordStatuses) {
        for (const [way, statement] of Object.entries(ways)) {
          await put(job)
          const run = () => {
            try {
              writer.exec(statement(to))
            } finally {
              if (writer.inTransaction) writer.exec('ROLLBACK')
            }
          }
          const mayBecome = !isTerminal(job) || toRecordStatus(job.state) === to
          if (mayBecome) t.doesNotThrow(run, `${name} to ${to} by ${way}`)
          else t.throws(run, { code: 'SQLITE_CONSTRAINT_TRIGGER' }, `${name} to ${to} by ${way}`)
          const found = await store.jobs.find('j')
          const status = found.kind === 'job' ? toRecordStatus(found.job.state) : found.kind
          if (mayBecome) t.equal(status, to)
          else t.ok([toRecordStatus(job.state), 'tombstone'].includes(status), `it is ${status}`)
        }
      }
    }
  })
}

t.test('rejects a fifth status', async t => {
  for (const [name, job] of Object.entries(jobs)) {
    await put(job)
    const before = await store.jobs.find('j')
    for (const status of [
      "'Cancelled'", "'Expired'", "'queued'", "'FAILED'", "' Failed'", "''", "'Failed' || char(0)", 'NULL', '1',
      "X'4661696C6564'"
    ]) {
      t.throws(() => {
        foreign.exec(`UPDATE JobExecutionLog SET status = ${status}`)
      }, { code: /^SQLITE_CONSTRAINT/ }, `${name} to ${status}`)
      t.throws(() => { foreign.exec(`REPLACE INTO JobExecutionLog (jobId, status) VALUES ('j', ${status})`) }, {
        code: /^SQLITE_CONSTRAINT/
      })
      t.throws(() => { foreign.exec(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('k', ${status})`) }, {
        code: /^SQLITE_CONSTRAINT/
      })
    }
    t.same(await store.jobs.find('j'), before)
  }
})

t.test('only a failed record can be cancelled', async t => {
  const check = { code: 'SQLITE_CONSTRAINT_CHECK' }
  for (const [name, job] of Object.entries(jobs)) {
    await put(job)
    const setIt = () => { foreign.exec("UPDATE JobExecutionLog SET cancelledAt = '2026-01-31T12:00:00Z'") }
    if (toRecordStatus(job.state) === 'Failed') t.doesNotThrow(setIt, name)
    else t.throws(setIt, check, name)
  }
  clear()
  for (const status of recordStatuses) {
    const insert = () => {
      foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, cancelledAt) VALUES ('${status}', '${status}', 'x')`)
    }
    if (status === 'Failed') t.doesNotThrow(insert)
    else t.throws(insert, check)
  }
})
