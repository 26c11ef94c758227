import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createChangeLog, hasOldChanges } from '../../../src/store/postgres/change-log.ts'
import type { Change, Follower } from '../../../src/store/change-log.ts'
import { createRandom } from '../../helpers/random.ts'
import { until } from '../../helpers/until.ts'
import { startMigrated } from './migrated.ts'
import { openDatabases } from './open-databases.ts'

const { server, open } = await startMigrated(t, ['autovacuum=off', 'max_prepared_transactions=4', 'deadlock_timeout=20ms'])

const openLog = async (t: Test) => {
  const database = await open(t)
  const { writer, reads } = openDatabases(t, database.url)
  const log = createChangeLog({ reads, incarnation: 'abc', onAnnounced: () => () => {} })
  const logged = async () => (await database.rows('SELECT version FROM JobChange')).map(({ version }) => Number(version))
  return {
    ...database,
    ...log,
    logged,
    prune: (before: number, limit = 1000) => writer.transaction().execute(tx => log.prune(tx, before, limit)),
    hasOld: (before: number) => hasOldChanges(reads, before)
  }
}

const insert = (jobId: string) => `INSERT INTO JobExecutionLog (jobId, status) VALUES ('${jobId}', 'Queued')`
const idsOf = (changes: readonly Change[]) => changes.map(({ jobId }) => jobId)

/** Reads and accepts a page. Rejects where there is a gap. */
const read = async (follower: Follower, limit = 100): Promise<Change[]> => {
  const { changes, isGap } = await follower.next(limit)
  if (isGap) throw new Error('there is no gap')
  follower.accept()
  return changes
}

const ascending = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)

t.test('a change that commits after one with a later version is read, by every follower', async t => {
  const { follow, run, connect } = await openLog(t)
  const follower = await follow()
  const [early, late] = [await connect(), await connect()]
  await early.query(`BEGIN; ${insert('early')}`)
  await late.query(`BEGIN; ${insert('late')}`)
  await run(insert('a'))
  await run(insert('b'))
  t.same(idsOf((await follower.next(1)).changes), ['a'])
  const [first] = await read(follower, 1)
  await early.query('COMMIT')
  const another = await follow(first?.cursor)
  for (const each of [another, follower]) {
    t.same(idsOf(await read(each, 1)), ['early'])
    t.same(idsOf(await read(each, 1)), ['b'])
  }
  await late.query('COMMIT')
  await run(insert('c'))
  for (const each of [another, follower, await follow(follower.cursor())]) {
    t.same(idsOf(await read(each)), ['late', 'c'])
    t.same(await read(each), [])
  }
})

t.test('a transaction that is prepared is read when it is committed', async t => {
  const { follow, run } = await openLog(t)
  const follower = await follow()
  await run(`BEGIN; ${insert('prepared')}; PREPARE TRANSACTION 'one'`)
  await run(insert('a'))
  t.same(idsOf(await read(follower)), ['a'])
  const { cursor } = follower
  await run("COMMIT PREPARED 'one'")
  t.same(idsOf(await read(await follow(cursor()))), ['prepared'])
  t.same(idsOf(await read(follower)), ['prepared'])
})

t.test('none of the changes that many writers commit in any order is missed or read twice', async t => {
  const { follow, connect, logged } = await openLog(t)
  const seed = Date.now() % 1_000_000
  const jobIds = ['a', 'b', 'c', 'd', 'e', 'f']
  const reset = await follow()
  const open = await connect()
  await open.query(`BEGIN; ${insert('open-all-along')}`)
  const statement = (jobId: string) => [
    `${insert(jobId)} ON CONFLICT (jobId) DO UPDATE SET attempt = JobExecutionLog.attempt + 1`,
    `UPDATE JobExecutionLog SET attempt = attempt + 1 WHERE jobId = '${jobId}'`,
    `DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`
  ]
  const write = async (number: number) => {
    const { pick, chance, below } = createRandom(seed + number)
    const client = await connect()
    for (let transaction = 0; transaction < 40; transaction++) {
      try {
        await client.query('BEGIN')
        for (let count = 0; count < 3; count++) {
          if (chance(0.3)) await client.query('SAVEPOINT s')
          await client.query(pick(statement(pick(jobIds))))
          if (chance(0.2)) await client.query('ROLLBACK TO s').catch(() => client.query('ROLLBACK; BEGIN'))
          if (chance(0.3)) await delay(below(20))
        }
        await client.query(chance(0.15) ? 'ROLLBACK' : 'COMMIT')
      } catch {
        // A deadlock with another writer.
        await client.query('ROLLBACK')
      }
    }
  }
  let isOver = false
  /** Follows all along; `resumes`: goes on from a cursor with a new follower, after any change that it has read. */
  const followAll = async (limit: number, resumes: boolean) => {
    const { chance, below } = createRandom(seed + 100 + limit)
    const versions: number[] = []
    let follower = await follow(reset.cursor())
    for (let isLast = false; !isLast || !isOver;) {
      const wasOver = isOver
      const page = await follower.next(limit)
      if (page.isGap) throw new Error('there is no gap')
      const cut = resumes && page.changes.length > 0 && chance(0.5) ? below(page.changes.length) : undefined
      const taken = cut === undefined ? page.changes : page.changes.slice(0, cut + 1)
      versions.push(...taken.map(({ version }) => version))
      if (cut === undefined) follower.accept()
      else follower = await follow(taken.at(-1)?.cursor)
      if (resumes && chance(0.3)) follower = await follow(follower.cursor())
      isLast = cut === undefined && page.isLast && wasOver
    }
    return versions
  }
  const following = [followAll(500, false), followAll(3, false), followAll(4, true), followAll(50, true)]
  await Promise.all(Array.from({ length: 6 }, (_, number) => write(number)))
  await open.query('COMMIT')
  isOver = true
  const all = ascending(await logged())
  t.ok(all.length > 100, `${all.length} changes, seed ${seed}`)
  for (const versions of await Promise.all(following)) t.same(ascending(versions), all, `seed ${seed}`)
})

t.test('an old transaction elsewhere delays nothing, and makes no read more expensive', async t => {
  const { follow, run, connect, rows } = await openLog(t)
  const idle = await connect()
  const insertMany = (prefix: string) =>
    `INSERT INTO JobExecutionLog (jobId, status) SELECT '${prefix}' || n, 'Queued' FROM generate_series(1, 2000) AS n`
  await idle.query(`BEGIN; ${insertMany('idle-')}`)
  await run(insertMany('j-'))
  const follower = await follow()
  await run(insert('new'))
  t.same(idsOf(await read(follower)), ['new'])
  const counted = async () => {
    const [row] = await rows("SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'jobchange_pkey'")
    return { scans: Number(row?.idx_scan), entries: Number(row?.idx_tup_read) }
  }
  const before = await counted()
  for (let count = 0; count < 100; count++) t.same(await read(follower), [])
  // A session reports what it has read when it ends, or once it has been idle for ten seconds.
  await run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle' AND pid <> pg_backend_pid()`)
  const after = await until(async () => {
    const now = await counted()
    return now.scans - before.scans >= 100 && now
  })
  t.ok(after.entries - before.entries < 10, `${after.entries - before.entries} entries of the index for 100 reads`)
  await idle.query('COMMIT')
  t.equal((await read(follower, 5000)).length, 2000)
})

t.test('a change is pruned when it has been visible for long enough, however old it is', async t => {
  const { follow, run, connect, prune, hasOld, logged, value } = await openLog(t)
  const [inTime, late] = [await follow(), await follow()]
  const slow = await connect()
  await slow.query(`BEGIN; ${insert('slow')}`)
  await run(insert('a'))
  await run(insert('b'))
  t.same(idsOf(await read(inTime)), ['a', 'b'])
  t.equal(await hasOld(0), true, 'a mark is due')
  t.equal(await prune(0), 0)
  t.equal(await hasOld(0), false)
  await slow.query('COMMIT')
  const future = Date.now() + 60_000
  t.equal(await prune(future), 0, 'nothing that was not visible to all at the mark')
  t.same(idsOf(await read(inTime)), ['slow'])
  await run('UPDATE JobChangeMark SET at = at - 100000')
  t.equal(await hasOld(0), true)
  await prune(0)
  t.equal(await value('SELECT count(*) FROM JobChangeMark'), 2)
  await run(insert('c'))
  t.equal(await hasOld(future), true)
  t.equal(await prune(future, 2), 2, 'no more than the limit')
  t.match(await late.next(10), { changes: [{ jobId: /b|slow/ }, { jobId: 'c' }], isGap: true })
  t.equal(await prune(future, 10), 1)
  t.equal((await logged()).length, 1)
  t.equal(await value('SELECT count(*) FROM JobChangeMark'), 1)
  late.accept()
  t.same(await read(late), [])
  t.same(idsOf(await read(inTime)), ['c'], 'who was in time has missed none')
})

t.test('a crash of the server is a gap, for a follower and for a cursor', async t => {
  const { follow, run, connect, rows } = await openLog(t)
  const follower = await follow()
  await run(insert('a'))
  const [{ cursor } = { cursor: '' }] = await read(follower)
  // Whatever ends without effect need not be on the disk: its number can be used again.
  const undone = await connect()
  await undone.query(`BEGIN; ${insert('undone')}; ROLLBACK`)
  await server.kill()
  await t.rejects(follower.next(10), { code: 'STORE_UNAVAILABLE' })
  await server.restart()
  const again = await connect()
  await again.query(insert('b'))
  await until(() => follower.next(10).catch(() => undefined))
  t.match(await follower.next(10), { changes: [], isGap: true, isLast: true })
  t.match(await (await follow(cursor)).next(10), { isGap: true })
  follower.accept()
  await again.query(insert('c'))
  t.same(idsOf(await read(follower)), ['c'])
  t.same(idsOf(await read(await follow(follower.cursor()))), [])
  await t.rejects(rows('SELECT 1'))
})
