import t, { type Test } from 'tap'
import { kindsOfStore } from '../migrations/adopted.ts'
import { jobOf } from '../../jobs.ts'
import { type ForeignWriter, openForeignWriters } from './foreign-writers.ts'
import type { OpenStore } from '../../open.ts'

// One table for every writer: what it runs, and how each of these jobs then stands. The setup is run by itself first.
type Case = { name: string, setup?: string, sql: string, then: Record<string, string> }

const aRunning = "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Running')"
const b = "INSERT INTO JobExecutionLog (jobId, status) VALUES ('b', 'Queued')"

const changing: Case[] = [
  { name: 'INSERT', sql: aRunning, then: { a: 'running' } },
  {
    name: 'INSERT under an unquoted name of another case',
    sql: "insert into jobexecutionlog (JOBID, STATUS) values ('a', 'Failed')",
    then: { a: 'failed' }
  },
  {
    name: 'INSERT of many rows',
    sql: "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Failed'), ('c', 'Running')",
    then: { a: 'queued', b: 'failed', c: 'running' }
  },
  {
    name: 'UPDATE',
    setup: aRunning,
    sql: "UPDATE JobExecutionLog SET status = 'Succeeded', resultUrl = 'https://x.example/r' WHERE jobId = 'a'",
    then: { a: 'succeeded' }
  },
  {
    name: 'UPDATE of many rows',
    setup: `${aRunning}; ${b}`,
    sql: "UPDATE JobExecutionLog SET status = 'Failed'",
    then: { a: 'failed', b: 'failed' }
  },
  {
    name: 'UPDATE OR REPLACE',
    setup: aRunning,
    sql: "UPDATE OR REPLACE JobExecutionLog SET status = 'Queued'",
    then: {
      a: 'queued'
    }
  },
  {
    name: 'UPDATE OR IGNORE',
    setup: aRunning,
    sql: "UPDATE OR IGNORE JobExecutionLog SET status = 'Queued'",
    then: {
      a: 'queued'
    }
  },
  {
    name: 'INSERT OR REPLACE',
    setup: aRunning,
    sql: "INSERT OR REPLACE INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued')",
    then: { a: 'queued' }
  },
  {
    name: 'REPLACE of many rows',
    setup: aRunning,
    sql: "REPLACE INTO JobExecutionLog (jobId, status) VALUES ('a', 'Failed'), ('b', 'Queued'), ('b', 'Running')",
    then: { a: 'failed', b: 'running' }
  },
  {
    name: 'ON CONFLICT DO UPDATE',
    setup: aRunning,
    sql: "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Failed') ON CONFLICT (jobId) DO UPDATE SET status = excluded.status",
    then: { a: 'failed' }
  },
  {
    name: 'INSERT OR IGNORE of a new row',
    sql: "INSERT OR IGNORE INTO JobExecutionLog (jobId, status) VALUES ('a', 'Running')",
    then: { a: 'running' }
  },
  { name: 'DELETE', setup: aRunning, sql: "DELETE FROM JobExecutionLog WHERE jobId = 'a'", then: { a: 'tombstone' } },
  {
    name: 'DELETE of all rows',
    setup: `${aRunning}; ${b}`,
    sql: 'DELETE FROM JobExecutionLog',
    then: {
      a: 'tombstone', b: 'tombstone'
    }
  },
  {
    name: 'DELETE then INSERT',
    setup: aRunning,
    sql: 'DELETE FROM JobExecutionLog; INSERT INTO JobExecutionLog (jobId, status) VALUES (\'a\', \'Queued\')',
    then: { a: 'queued' }
  },
  {
    name: 'DELETE then INSERT of the same terminal status',
    setup: `${aRunning}; UPDATE JobExecutionLog SET status = 'Failed'`,
    sql: 'DELETE FROM JobExecutionLog; INSERT INTO JobExecutionLog (jobId, status) VALUES (\'a\', \'Failed\')',
    then: { a: 'failed' }
  },
  {
    name: 'an UPDATE in a transaction with others',
    setup: aRunning,
    sql: `BEGIN; UPDATE JobExecutionLog SET status = 'Queued'; UPDATE JobExecutionLog SET status = 'Running'; ${b}; COMMIT`,
    then: { a: 'running', b: 'queued' }
  }
]

const unchanging: Case[] = [
  {
    name: 'an UPDATE to the same',
    setup: aRunning,
    sql: "UPDATE JobExecutionLog SET status = status, type = NULL WHERE jobId = 'a'",
    then: { a: 'running' }
  },
  {
    name: 'INSERT OR IGNORE of a known row',
    setup: aRunning,
    sql: "INSERT OR IGNORE INTO JobExecutionLog (jobId, status) VALUES ('a', 'Failed')",
    then: { a: 'running' }
  },
  {
    name: 'ON CONFLICT DO NOTHING',
    setup: aRunning,
    sql: "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Failed') ON CONFLICT DO NOTHING",
    then: { a: 'running' }
  },
  {
    name: 'a transaction rolled back',
    setup: aRunning,
    sql: 'BEGIN; DELETE FROM JobExecutionLog; ROLLBACK',
    then: {
      a: 'running'
    }
  },
  {
    name: 'a DELETE that finds nothing',
    setup: aRunning,
    sql: "DELETE FROM JobExecutionLog WHERE jobId = 'z'",
    then: {
      a: 'running'
    }
  }
]

const written = (sql: string): Case => ({ name: sql, setup: `${aRunning}; ${b}`, sql, then: { b: 'queued' } })

// A version that others write counts for nothing: each of these is a change that draws the next one.
const writingVersions: Case[] = [
  {
    ...written(
      "INSERT INTO JobExecutionLog (jobId, status, version) VALUES ('c', 'Queued', 1000000)"
    ),
    then: { c: 'queued' }
  },
  {
    ...written(
      "INSERT INTO JobExecutionLog (jobId, status, version) VALUES ('c', 'Queued', -5)"
    ),
    then: { c: 'queued' }
  },
  {
    ...written(
      "INSERT INTO JobExecutionLog (jobId, status, version) VALUES ('c', 'Queued', 1)"
    ),
    then: { c: 'queued' }
  },
  { ...written("REPLACE INTO JobExecutionLog (jobId, status, version) VALUES ('b', 'Queued', 0)") },
  { ...written("REPLACE INTO JobExecutionLog (jobId, status, version) VALUES ('b', 'Queued', NULL)") },
  written("UPDATE JobExecutionLog SET version = 1000000 WHERE jobId = 'b'"),
  written("UPDATE JobExecutionLog SET version = 9223372036854775807 WHERE jobId = 'b'"),
  written("UPDATE JobExecutionLog SET version = 0 WHERE jobId = 'b'"),
  written("UPDATE JobExecutionLog SET version = version - 1 WHERE jobId = 'b'"),
  written("UPDATE JobExecutionLog SET version = version + 1 WHERE jobId = 'b'"),
  written(
    "UPDATE JobExecutionLog SET version = (SELECT version FROM JobExecutionLog WHERE jobId = 'a') WHERE jobId = 'b'"
  ),
  written("UPDATE OR REPLACE JobExecutionLog SET version = NULL WHERE jobId = 'b'"),
  written("UPDATE JobExecutionLog SET version = 3, type = 'x' WHERE jobId = 'b'")
]

const stateOf = async ({ store }: OpenStore, jobId: string): Promise<string> => {
  const lookup = await store.jobs.find(jobId)
  return lookup.kind === 'job' ? lookup.job.state : lookup.kind
}

const versionOf = async ({ store }: OpenStore, jobId: string): Promise<number> => {
  const lookup = await store.jobs.find(jobId)
  return lookup.kind === 'job' ? lookup.job.version : lookup.kind === 'tombstone' ? lookup.tombstone.version : 0
}

const setUp = async (opened: OpenStore, writer: ForeignWriter, { setup }: Case): Promise<number> => {
  // A case begins where no job was, not even a dead one.
  await writer.run('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone')
  if (setup !== undefined) await writer.run(setup)
  return opened.changeLog.head()
}

const expectStates = async (t: Test, opened: OpenStore, { then }: Case) => {
  const states = await Promise.all(Object.keys(then).map(async jobId => [jobId, await stateOf(opened, jobId)]))
  t.same(Object.fromEntries(states), then)
}

for (const { kind, open } of kindsOfStore) {
  t.test(`on ${kind}`, async t => {
    const opened = await open(t)

    for (const writer of openForeignWriters(t, opened.path)) {
      t.test(`changes by ${writer.name} are found, numbered and logged`, async t => {
        for (const each of [...changing, ...writingVersions]) {
          await t.test(each.name, async t => {
            const head = await setUp(opened, writer, each)
            await writer.run(each.sql)
            await expectStates(t, opened, each)
            const changes = opened.changeLog.after(head, 100)
            for (const jobId of Object.keys(each.then)) {
              const last = changes.findLast(change => change.jobId === jobId)
              t.equal(await versionOf(opened, jobId), last?.version, `${jobId} has the version of its last change`)
            }
            t.same(new Set(changes.map(
              ({ jobId }) => jobId
            )), new Set(Object.keys(each.then)), 'only these jobs changed')
            t.same(changes.map(({ version }) => version), changes.map((_, at) => head + 1 + at), 'in one sequence')
          })
        }
      })

      t.test(`${writer.name} that changes nothing draws no version`, async t => {
        for (const each of unchanging) {
          await t.test(each.name, async t => {
            const head = await setUp(opened, writer, each)
            await writer.run(each.sql)
            await expectStates(t, opened, each)
            t.equal(opened.changeLog.head(), head)
          })
        }
      })

      t.test(`${writer.name} need write an id and a status only`, async t => {
        const before = Date.now() - 1
        await writer.run('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone')
        await writer.run("INSERT INTO JobExecutionLog (jobId, status) VALUES ('bare', 'Running')")
        const job = jobOf(await opened.store.jobs.find('bare'))
        t.match(job, {
          tenant: null, submittedBy: null, type: null, startedAt: null, attempt: 0, progress: { percent: 0 }
        })
        t.ok(job.createdAt >= before && job.createdAt <= Date.now(), 'createdAt is filled')

        await writer.run("INSERT INTO JobExecutionLog (jobId, status, createdAt) VALUES ('null', 'Running', NULL)")
        t.ok(jobOf(await opened.store.jobs.find('null')).createdAt >= before, 'in place of NULL too')
        await writer.run("UPDATE JobExecutionLog SET createdAt = NULL WHERE jobId = 'null'")
        t.ok(jobOf(await opened.store.jobs.find('null')).createdAt >= before, 'by UPDATE too')
        await writer.run(
          "UPDATE JobExecutionLog SET createdAt = '2020-02-29 10:00:00+02:00', startTime = '20200229T080001Z', endTime = 'soon' WHERE jobId = 'null'"
        )
        t.match(await opened.store.jobs.find('null'), {
          job: { createdAt: Date.UTC(2020, 1, 29, 8), startedAt: Date.UTC(2020, 1, 29, 8, 0, 1) }
        })
      })
    }
  })
}
