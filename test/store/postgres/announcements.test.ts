import t, { type Test } from 'tap'
import { announcing, createAnnouncements } from '../../../src/store/postgres/announcements.ts'
import { createTransact } from '../../../src/store/postgres/transact.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { until } from '../../helpers/until.ts'
import { queuedJob } from '../jobs.ts'
import { startMigrated } from './migrated.ts'
import { openDatabases } from './open-databases.ts'

const { open } = await startMigrated(t)

/** A process on the database, which listens and counts the announcements that it receives. */
const openProcess = async (t: Test, url: string) => {
  const { writer, reads, pools: { listen } } = openDatabases(t, url)
  const { announce, onAnnounced, close } = createAnnouncements({ reads, connect: listen.connect })
  t.teardown(close)
  let received = 0
  const stop = onAnnounced(() => { received++ })
  const transact = createTransact({ writer, now: () => performance.now(), random: Math.random })
  const add = (jobId: string) => announcing(transact, announce)(tx => insertJob(tx, queuedJob(jobId)))
  return { announce, add, stop, received: () => received }
}

const openTwo = async (t: Test) => {
  const database = await open(t)
  const [one, other] = [await openProcess(t, database.url), await openProcess(t, database.url)]
  // LISTEN is asynchronous.
  for (const [sender, listener] of [[one, other], [other, one]] as const) {
    await until(() => {
      sender.announce()
      return listener.received() > 0
    })
  }
  const listener = await database.connect()
  const notified: Array<string | undefined> = []
  listener.on('notification', ({ payload }) => { notified.push(payload) })
  await listener.query('LISTEN job_status_commit')
  /** The number of announcements before a mark that both have received. */
  const untilMarked = async (): Promise<number> => {
    const [ofOne, ofOther] = [one.received(), other.received()]
    await database.run("NOTIFY job_status_commit, 'marker'")
    await until(() => notified.includes('marker') && one.received() > ofOne && other.received() > ofOther)
    return notified.splice(0).filter(payload => payload !== 'marker').length
  }
  // Announcements of the beginning may still be under way.
  for (let silentRounds = 0; silentRounds < 2;) silentRounds = await untilMarked() === 0 ? silentRounds + 1 : 0
  return { ...database, one, other, notified, untilMarked }
}

t.test('a process receives the announcements of others, and not its own', async t => {
  const { one, other } = await openTwo(t)
  const before = [one.received(), other.received()] as const
  await one.add('a')
  await until(() => other.received() > before[1])
  t.equal(one.received(), before[0])
  await other.add('b')
  await until(() => one.received() > before[0])
  t.ok(one.received() > before[0])
})

t.test('commits of one time are announced together, and those of other programs not at all', async t => {
  const { one, run, notified, untilMarked } = await openTwo(t)
  await run("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Queued'); DELETE FROM JobExecutionLog")
  t.equal(await untilMarked(), 0)
  for (let count = 0; count < 100; count++) one.announce()
  await until(() => notified.length === 2)
  t.equal(await untilMarked(), 2, 'the first of a hundred, and the others')
})

t.test('a rolled back work announces nothing', async t => {
  const database = await open(t)
  const { writer } = openDatabases(t, database.url)
  const transact = createTransact({ writer, now: () => performance.now(), random: Math.random })
  let announced = 0
  const announcingTransact = announcing(transact, () => { announced++ })
  await t.rejects(announcingTransact(async () => { throw new Error('undone') }), { message: 'undone' })
  t.equal(announced, 0)
  t.equal(await announcingTransact(async () => 5), 5)
  t.equal(announced, 1)
})

t.test('listens again after its connection was lost, and no longer once it was stopped', async t => {
  const { one, other, run } = await openTwo(t)
  await run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()`)
  const before = other.received()
  await until(() => {
    one.announce()
    return other.received() > before
  })
  other.stop()
  const stopped = other.received()
  const receivedByOne = one.received()
  await other.add('a')
  await until(() => one.received() > receivedByOne)
  await one.add('b')
  t.equal(other.received(), stopped)
})
