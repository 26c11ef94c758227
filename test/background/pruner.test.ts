import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createPruneTasks, type PruneTasksNeeds } from '../../src/background/prune-tasks.ts'
import { createPruner, type PruneTask, type Pruned } from '../../src/background/pruner.ts'
import { createRelay } from '../../src/background/relay.ts'
import { createInvalidate } from '../../src/status/expose.ts'
import { sqlite3 } from '../helpers/databases.ts'
import { always, csv, given, leaseMs, openCommands } from '../write/commands.ts'

const monotonicNow = () => performance.now()
const day = 86_400_000
const retention = { idempotencyKeyKeptMs: day, recordRetentionMs: 10 * day, tombstoneRetentionMs: 5 * day, changeRetentionMs: 3_600_000 }

/** The service's own pruner on the commands' database; `batches` has the result of each transaction. */
const setUp = async (t: Test, more: Partial<PruneTasksNeeds> = {}) => {
  const commands = await openCommands(t)
  const batches: Array<Pruned & { kind: string, limit: number }> = []
  const pruned: Record<string, number> = {}
  let stopping = () => false
  const watched = createPruneTasks({
    ...retention,
    ...commands,
    changes: commands.store.changes,
    retention: commands.store.retention,
    now: () => commands.clock.ms,
    pruneForeignRows: false,
    ...more
  }).map((prunable): PruneTask => ({
    ...prunable,
    prune: async limit => {
      const batch = await prunable.prune(limit)
      batches.push({ kind: prunable.kind, limit, ...batch })
      return batch
    }
  }))
  const prune = createPruner({
    tasks: watched,
    onPruned: (kind, count) => { pruned[kind] = (pruned[kind] ?? 0) + count },
    isStopping: () => stopping(),
    monotonicNow
  })
  // Rows of the database's own clock get the time of the test.
  const dateTombstones = () => {
    commands.sql(
    `UPDATE JobTombstone SET expiredAt = '${new Date(commands.clock.ms).toISOString()}' WHERE expiredAt > '2026-02-28'`
    )
  }
  return {
    ...commands,
    prune,
    batches,
    pruned,
    dateTombstones,
    stopWhen: (stop: () => boolean) => { stopping = stop },
    finish: async (text = 'result') => {
      const jobId = await commands.submit()
      await commands.runJob.complete(await commands.claim(), given(text))
      return jobId
    }
  }
}

t.test('removes a job step by step: its result, its record and its tombstone', async t => {
  const { finish, prune, pruned, clock, store, job, dateTombstones, count } = await setUp(t)
  const jobId = await finish()
  await prune()
  t.same(pruned, {})
  clock.ms += day
  await prune()
  t.match(await job(jobId), { state: 'succeeded', result: null, resultExpiredAt: clock.ms })
  t.same(pruned, { results: 1, bytes: 2 })
  clock.ms += 9 * day
  await prune()
  t.equal((await store.jobs.find(jobId)).kind, 'job', 'not before its time')
  clock.ms += 1
  await prune()
  dateTombstones()
  t.match(await store.jobs.find(jobId), { kind: 'tombstone', tombstone: { tenant: 'acme' } })
  clock.ms += 5 * day
  await prune()
  t.equal((await store.jobs.find(jobId)).kind, 'tombstone')
  clock.ms += 1
  await prune()
  t.equal((await store.jobs.find(jobId)).kind, 'absent')
  t.same(pruned, { results: 1, bytes: 2, records: 1, tombstones: 1 })
  for (const table of [
    'JobExecutionLog', 'JobTombstone', 'JobQueue', 'JobInput', 'JobResult', 'JobResultChunk', 'OrphanedBytes'
  ]) t.equal(count(table), 0, table)
})

t.test('leaves unfinished jobs, however old', async t => {
  const commands = await setUp(t, { pruneForeignRows: true })
  const { submit, claim, storeInput, runJob, prune, pruned, clock, store, sql, inputs } = commands
  const raw = await storeInput((async function * () { yield Buffer.from('raw bytes') })(), 'text/plain', 9)
  const running = await submit({}, undefined, raw)
  const lease = await claim()
  await runJob.append(lease, 0, Buffer.from('half'), csv)
  const queued = await submit()
  sql(
    "INSERT INTO JobExecutionLog (jobId, status, createdAt) VALUES ('theirs', 'Running', '2020-01-01T00:00:00Z'), ('theirs-too', 'Queued', '2020-01-01')"
  )
  const before = await Promise.all([running, queued, 'theirs', 'theirs-too'].map(store.jobs.find))
  clock.ms += 1000 * day
  await prune()
  t.same(Object.keys(pruned).filter(kind => kind !== 'changes'), [])
  t.same(await Promise.all([running, queued, 'theirs', 'theirs-too'].map(store.jobs.find)), before)
  t.match(await commands.results.findPartial(running), { sizeBytes: 4 })
  t.equal(String(Buffer.concat(await Array.fromAsync(inputs.read(raw)))), 'raw bytes')
})

t.test('leaves rows of other programs unless configured to prune them', async t => {
  for (const pruneForeignRows of [false, true]) {
    const { prune, sql, clock, store } = await setUp(t, { pruneForeignRows })
    sql(
      "INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES ('old', 'Failed', '2020-01-01 00:00:00'), ('young', 'Failed', '2026-01-31T11:00:00+01:00'), ('odd', 'Failed', '')"
    )
    clock.ms += 9 * day
    await prune()
    t.same(await Promise.all(['old', 'young', 'odd'].map(async jobId => (await store.jobs.find(jobId)).kind)), [
      pruneForeignRows ? 'tombstone' : 'job', 'job', 'job'
    ])
    clock.ms += 2 * day
    await prune()
    await prune()
    t.same(await Promise.all(['young', 'odd'].map(async jobId => (await store.jobs.find(jobId)).kind)), [
      pruneForeignRows ? 'tombstone' : 'job', 'job'
    ])
  }
})

t.test('examines no record that is not due', async t => {
  const { prune, sql, batches, clock, pruned } = await setUp(t, { pruneForeignRows: true })
  sql(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120) INSERT INTO JobExecutionLog (jobId, status, endTime) SELECT 'odd-' || i, 'Failed', 'soon' FROM n"
  )
  await prune()
  const examined = () => batches.filter(({ kind }) => kind === 'foreign-records').reduce(
    (sum, batch) => sum + batch.examined, 0
  )
  t.equal(examined(), 0)
  sql("INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES ('due', 'Failed', '2020-01-01')")
  clock.ms += 1
  await prune()
  t.equal(examined(), 1)
  t.equal(pruned['foreign-records'], 1)
})

t.test('no cached answer outlives its tombstone', async t => {
  const { finish, prune, clock, readStatus, dateTombstones, store, cache, epoch, transitions } = await setUp(t)
  const relay = createRelay({
    follower: await store.changes.follow(),
    invalidate: createInvalidate(
      { cache, epoch }
    ),
    onChanges: () => {},
    onGap: () => { t.fail('no gap') }
  })
  const jobId = await finish()
  clock.ms += 10 * day + 1
  await prune()
  dateTombstones()
  await relay()
  t.match(await readStatus(jobId, 0), { state: 'expired' })
  clock.ms += 5 * day + 1
  await prune()
  t.match(await readStatus(jobId, 0), { state: 'expired' }, 'until the relay comes')
  await relay()
  t.match(await readStatus(jobId, 0), { state: 'absent' })
  t.same(transitions.map(([event]) => event), ['claim', 'complete', 'expire'])
})

t.test('prunes changes and idempotency keys by their age', async t => {
  const { prune, pruned, sql, clock, count, submitJob } = await setUp(t)
  await submitJob({ subject: 'me', tenant: 'acme', allTenants: false }, { type: 'report', input: 1 }, 'key')
  sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) INSERT INTO JobExecutionLog (jobId, status) SELECT i, 'Queued' FROM n;
    UPDATE JobChange SET at = ${clock.ms - 3_600_000 + 1}; UPDATE JobChange SET at = at - 1 WHERE version <= 1100`)
  await prune()
  t.same(pruned, {}, 'not on the hour')
  clock.ms += 1
  await prune()
  t.same(pruned, { changes: 1100 })
  clock.ms += day
  await prune()
  t.same(pruned, { changes: 1201, 'idempotency-keys': 1 })
  t.equal(count('IdempotencyKey'), 0)
})

t.test('prunes an upload that broke off after its time', async t => {
  const { prune, clock, storeInput, count, pruned } = await setUp(t)
  await storeInput((async function * () { yield Buffer.alloc(600_000) })(), 'text/plain', 0)
  clock.ms += 3_600_000 - 1
  await prune()
  t.equal(count('JobInputChunk'), 3)
  clock.ms += 1
  await prune()
  t.same([count('JobInputChunk'), count('OrphanedBytes'), pruned.bytes], [0, 0, 4])
})

t.test('no transaction removes more than a batch', async t => {
  const { prune, batches, sql, clock, count } = await setUp(t)
  const end = new Date(clock.ms - 20 * day).toISOString()
  sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO JobExecutionLog (jobId, status, submittedBy, endTime, expiresAt)
    SELECT 'j' || i, 'Succeeded', 'me', '${end}', CASE WHEN i <= 200 THEN '${end}' END FROM n`)
  sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO JobResultChunk (jobId, startOffset, bytes) SELECT 'large', i, zeroblob(10) FROM n;
    INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'large', 0)`)
  await prune()
  t.same([count('JobExecutionLog'), count('JobResultChunk')], [0, 0])
  const of = (kind: string) => batches.filter(batch => batch.kind === kind)
  for (const { kind, limit, examined, removed } of batches) {
    if (examined > limit || removed > examined || limit > 1000) t.fail(`${kind}: ${removed} of ${examined}, ${limit}`)
  }
  t.equal(of('records').reduce((sum, { removed }) => sum + removed, 0), 3000)
  t.equal(of('records')[0]?.limit, 50, 'begun with a small one')
  t.ok(of('bytes').length >= 300 / 16, 'large things in smaller ones')
})

t.test('removes records with large inputs a few at a time', async t => {
  const { prune, batches, sql, clock, count } = await setUp(t)
  const end = new Date(clock.ms - 20 * day).toISOString()
  sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
    INSERT INTO JobExecutionLog (jobId, status, submittedBy, endTime) SELECT 'j' || i, 'Succeeded', 'me', '${end}' FROM n;
    INSERT INTO JobInput (jobId, input, access) SELECT jobId, hex(zeroblob(512 * 1024)), '{}' FROM JobExecutionLog`)
  await prune()
  t.same([count('JobExecutionLog'), count('JobInput')], [0, 0])
  const removed = batches.filter(({ kind }) => kind === 'records').map(({ removed }) => removed)
  t.ok(removed.length > 4 && Math.max(...removed) <= 4, removed.join())
})

t.test('a round that is stopped ends with the running batch', async t => {
  const { prune, batches, sql, clock, stopWhen, count, pruned } = await setUp(t)
  const end = new Date(clock.ms - 20 * day).toISOString()
  sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
    INSERT INTO JobExecutionLog (jobId, status, submittedBy, endTime) SELECT 'j' || i, 'Succeeded', 'me', '${end}' FROM n`)
  stopWhen(() => batches.length === 2)
  await prune()
  t.equal(batches.length, 2)
  t.equal(count('JobExecutionLog'), 5000 - (pruned.records ?? 0))
  await prune()
  t.equal(batches.length, 2, 'and none begins')
  stopWhen(() => false)
  await prune()
  t.equal(count('JobExecutionLog'), 0, 'the next one goes on where it was')
})

t.test('a kind that fails is reported, and the others are pruned', async t => {
  const rounds: string[] = []
  const kind = (name: string, prune: (round: number) => Pruned): PruneTask => {
    let round = 0
    return { kind: name, isDue: async () => true, prune: async () => { rounds.push(name); return prune(++round) } }
  }
  const one: Pruned = { examined: 1, removed: 1, isDone: false }
  const pruned: Array<[string, number]> = []
  const prune = createPruner({
    tasks: [
      kind('broken', round => { if (round === 2) throw new Error('disk full'); return one }),
      kind('whole', round => ({ ...one, isDone: round === 3 }))
    ],
    onPruned: (name, count) => { pruned.push([name, count]) },
    isStopping: () => false,
    monotonicNow
  })
  await t.rejects(prune(), { message: 'disk full' })
  t.same(rounds, ['broken', 'broken', 'whole', 'whole', 'whole'])
  t.same(pruned, [['broken', 1], ['whole', 3]], 'what was removed is reported all the same')
})

t.test('batches grow while they are quick, up to a bound, and shrink after a slow one', async t => {
  const limits: number[] = []
  let clockMs = 0
  const prune = createPruner({
    tasks: [{
      kind: 'many',
      isDue: async () => true,
      prune: async limit => {
        limits.push(limit)
        clockMs += limits.length === 9 ? 50 : limits.length === 11 ? 500 : 0.1
        return { examined: limit, removed: limit, isDone: limits.length === 13 }
      }
    }],
    onPruned: () => {},
    isStopping: () => false,
    monotonicNow: () => clockMs
  })
  await prune()
  t.same(limits.slice(0, 9), [50, 100, 200, 400, 800, 1000, 1000, 1000, 1000])
  t.same(limits.slice(9), [40, 80, 5, 10], 'as many as fit into 2 ms, and never fewer than 5')
})

t.test('other work gets in between the batches', async t => {
  let batches = 0
  let turns = 0
  const prune = createPruner({
    tasks: [{
      kind: 'many',
      isDue: async () => true,
      prune: async () => ({
        examined: 1, removed: 1, isDone: ++batches === 20
      })
    }],
    onPruned: () => {},
    isStopping: () => false,
    monotonicNow
  })
  const ticking = setInterval(() => {}, 1000)
  const count = () => { turns++; if (batches < 20) setImmediate(count) }
  setImmediate(count)
  await prune()
  clearInterval(ticking)
  t.ok(turns >= 19, `${turns} turns of the event loop`)
})

t.test('a service with nothing to prune takes no lock', async t => {
  const { prune, database, batches } = await setUp(t, { pruneForeignRows: true })
  await sqlite3(database.path, 'SELECT 1')
  await prune()
  t.same(batches, [])
})

t.test('the next process prunes what a killed one left', async t => {
  const { finish, submit, claim, clock, prune, sql, count, database, cancelJob, rescueJobs, runJob, store } =
    await setUp(t)
  for (let job = 0; job < 20; job++) await finish('x'.repeat(2000))
  const stopped = await submit()
  await runJob.append(await claim(), 0, Buffer.alloc(1000), csv)
  await cancelJob(stopped, always)
  const past = "'2020-01-01T00:00:00.000Z'"
  sql(`UPDATE JobExecutionLog SET endTime = ${past}, expiresAt = ${past} WHERE status = 'Succeeded'`)
  // It dies among the results, among the records and among the bytes.
  for (const [kind, number] of [['results', '5'], ['records', '10'], ['bytes', '3']] as const) {
    const child = spawn('setpriv', [
      '--pdeathsig', 'KILL', process.execPath, join(import.meta.dirname, 'pruning-child.ts'), database.path, kind, number
    ], { stdio: ['ignore', 'pipe', 'inherit'] })
    const exit = once(child, 'exit')
    child.stdout.once('data', () => { child.kill('SIGKILL') })
    t.same(await exit, [null, 'SIGKILL'], `in the midst of the ${kind}`)
  }
  clock.ms += 100 * leaseMs
  await rescueJobs()
  await prune()
  t.same(['JobResult', 'JobResultChunk', 'JobQueue', 'OrphanedBytes'].map(count), [0, 0, 0, 0])
  t.same([count('JobExecutionLog'), count('JobInput'), count('JobTombstone')], [1, 1, 20])
  t.match(await store.jobs.find(stopped), { job: { state: 'cancelled' } })
})
