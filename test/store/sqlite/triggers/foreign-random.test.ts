import fc from 'fast-check'
import t from 'tap'
import type { JobLookup } from '../../../../src/job/job.ts'
import { sqlite3 } from '../../../helpers/databases.ts'
import { kindsOfStore } from '../migrations/adopted.ts'
import { openForeign, openStore, type OpenStore } from '../../open.ts'

const jobIds = ['a', 'b', 'c'] as const
const statuses = ['Queued', 'Running', 'Succeeded', 'Failed'] as const

const jobId = fc.constantFrom(...jobIds)
const status = fc.constantFrom(...statuses)
const version = fc.constantFrom(
  'NULL', '-1', '0', '1', '7', '1000000', '9223372036854775807', '(SELECT max(version) FROM JobChange)',
  '(SELECT min(version) FROM JobExecutionLog)'
)
// The last ones are what the triggers draw next.
const seq = fc.constantFrom(
  'NULL', '0', '1', '7', 'seq', 'version', '9223372036854775807', '(SELECT max(seq) FROM JobExecutionLog)',
  ...[1, 2, 3].map(next => `(SELECT max(version) + ${next} FROM JobChange)`)
)
const verb = fc.constantFrom(
  'INSERT', 'REPLACE', 'INSERT OR IGNORE', 'INSERT OR REPLACE', 'INSERT OR ROLLBACK', 'INSERT OR FAIL'
)
const orClause = fc.constantFrom('', 'OR REPLACE', 'OR IGNORE', 'OR FAIL', 'OR ABORT')
const conflict = fc.constantFrom(
  'DO NOTHING', 'DO UPDATE SET status = excluded.status', "DO UPDATE SET type = 'x'",
  'DO UPDATE SET version = excluded.version'
)

// Statements as other programs might run them, sensible or not.
const statement = fc.oneof(
  fc.tuple(verb, jobId, status).map(([
    verb, id, status
  ]) => `${verb} INTO JobExecutionLog (jobId, status) VALUES ('${id}', '${status}')`),
  fc.tuple(verb, jobId, status, version).map(([verb, id, status, version]) =>
    `${verb} INTO JobExecutionLog (jobId, status, version, createdAt) VALUES ('${id}', '${status}', ${version}, NULL)`),
  fc.tuple(verb, status, status).map((
    [verb, first, second]
  ) => `${verb} INTO JobExecutionLog (jobId, status) VALUES ('a', '${first}'), ('b', '${second}'), ('a', '${second}')`),
  fc.tuple(jobId, status, conflict).map(
    ([id, status, conflict]) =>
      `INSERT INTO JobExecutionLog (jobId, status, version) VALUES ('${id}', '${status}', 3) ON CONFLICT (jobId) ${conflict}`
  ),
  fc.tuple(orClause, jobId, status).map((
    [or, id, status]
  ) => `UPDATE ${or} JobExecutionLog SET status = '${status}' WHERE jobId = '${id}'`),
  fc.tuple(orClause, status, version).map(([
    or, status, version
  ]) => `UPDATE ${or} JobExecutionLog SET status = '${status}', version = ${version}`),
  fc.tuple(orClause, jobId, version).map((
    [or, id, version]
  ) => `UPDATE ${or} JobExecutionLog SET version = ${version} WHERE jobId = '${id}'`),
  fc.tuple(verb, jobId, status, seq, seq).filter(
    ([, , , ...written]) => written.every(value => !/^(seq|version)$/.test(value))
  )
    .map(
      ([verb, id, status, version, seq]) =>
        `${verb} INTO JobExecutionLog (jobId, status, version, seq) VALUES ('${id}', '${status}', coalesce(${version}, 0), ${seq})`
    ),
  fc.tuple(orClause, seq, version).map(([
    or, seq, version
  ]) => `UPDATE ${or} JobExecutionLog SET seq = ${seq}, version = ${version}`),
  fc.tuple(orClause, jobId, seq, seq).map(([
    or, id, seq, version
  ]) => `UPDATE ${or} JobExecutionLog SET seq = ${seq}, version = coalesce(${version}, 1) WHERE jobId = '${id}'`),
  fc.tuple(orClause, seq).map(([or, seq]) => `UPDATE ${or} JobExecutionLog SET seq = ${seq}, type = 'y'`),
  fc.tuple(orClause, jobId, jobId)
    .map(([or, from, to]) => `UPDATE ${or} JobExecutionLog SET jobId = '${to}' WHERE jobId = '${from}'`),
  fc.tuple(orClause, jobId, jobId).map(
    ([or, from, to]) =>
      `UPDATE ${or} JobExecutionLog SET rowid = (SELECT rowid FROM JobExecutionLog WHERE jobId = '${to}') WHERE jobId = '${from}'`
  ),
  fc.tuple(jobId, fc.nat(100)).map(([id, percent]) =>
    `UPDATE JobExecutionLog SET progressPercent = ${percent}, createdAt = NULL WHERE jobId = '${id}'`),
  jobId.map(id => `DELETE FROM JobExecutionLog WHERE jobId = '${id}'`),
  fc.constant('DELETE FROM JobExecutionLog')
)

type Known = { version: number, terminal: string | null, found: JobLookup, seq: number | undefined }

const versionOf = (found: JobLookup): number => {
  switch (found.kind) {
    case 'job': return found.job.version
    case 'tombstone': return found.tombstone.version
    case 'invalid': return found.version
    case 'absent': return 0
  }
}

/** Holds what is found after a statement against what was known before; throws where a law is broken. */
const check = async (
  { store, changeLog, database }: OpenStore, statement: string, known: Map<string, Known>, head: number
): Promise<void> => {
  const changes = changeLog.after(head, 1000)
  if (changes.some((change, at) => change.version !== head + 1 + at)) throw new Error('the change log has a hole')
  const undead =
    database.reader.prepare('SELECT jobId FROM JobExecutionLog INTERSECT SELECT jobId FROM JobTombstone').all()
  if (undead.length > 0) throw new Error('a job is alive and dead')
  for (const jobId of jobIds) {
    const before = known.get(jobId)
    const found = await store.jobs.find(jobId)
    const version = versionOf(found)
    const lastChange = changes.findLast(change => change.jobId === jobId)?.version
    if (lastChange === undefined && JSON.stringify(found) !== JSON.stringify(before?.found ?? {
      kind: 'absent', jobId
    })) {
      throw new Error(`${jobId} changed, and the change log does not know`)
    }
    if (lastChange !== undefined && version !== lastChange) {
      throw new Error(`${jobId} has ${version}, its last change ${lastChange}`)
    }
    if (version < (before?.version ?? 0)) {
      throw new Error(`the version of ${jobId} fell from ${before?.version} to ${version}`)
    }
    const seq =
      database.reader.prepare<[string], number>('SELECT seq FROM JobExecutionLog WHERE jobId = ?').pluck().get(jobId)
    const isDrawn = !statement.startsWith('UPDATE') && changes.some(
      change => change.jobId === jobId && change.version === seq
    )
    if (seq !== before?.seq && seq !== undefined && !isDrawn) {
      throw new Error(`the seq of ${jobId} changed from ${before?.seq} to ${seq}`)
    }
    const state = found.kind === 'job' ? found.job.state : null
    const terminal = before?.terminal ?? null
    if (terminal !== null && state !== null && state !== terminal) {
      throw new Error(`${jobId} left ${terminal} for ${state}`)
    }
    known.set(jobId, { version, found, seq, terminal: state === 'succeeded' || state === 'failed' ? state : terminal })
  }
}

const clear = 'DELETE FROM JobExecutionLog; DELETE FROM JobTombstone'

const worlds = kindsOfStore.flatMap(({ kind, open }) => (['OFF', 'ON'] as const).map(mode => ({ kind, open, mode })))

for (const { kind, open, mode } of worlds) {
  t.test(`no sequence of statements lets a version of ${kind} fall or a terminal status go, recursive_triggers ${mode}`, async t => {
    const opened = await open(t)
    const foreign = openForeign(t, opened.path, `recursive_triggers = ${mode}`)
    foreign.pragma('synchronous = OFF')
    await fc.assert(fc.asyncProperty(fc.array(statement, { minLength: 20, maxLength: 60 }), async statements => {
      foreign.exec(clear)
      const known = new Map<string, Known>()
      let head = opened.changeLog.head()
      for (const sql of statements) {
        try {
          foreign.exec(sql)
        } catch {
          // Refused, which is one of the two right answers; the check sees what stayed.
        }
        await check(opened, sql, known, head)
        head = opened.changeLog.head()
      }
    }), { numRuns: 60 })
    t.pass('by 60 sequences')
  })
}

t.test('no sequence of statements of the sqlite3 program does either', async t => {
  const opened = await openStore(t)
  const known = new Map<string, Known>()
  let head = opened.changeLog.head()
  for (const sql of fc.sample(statement, 150)) {
    await sqlite3(opened.path, sql).catch(() => {})
    await check(opened, sql, known, head)
    head = opened.changeLog.head()
  }
  t.ok(head > 0)
})
