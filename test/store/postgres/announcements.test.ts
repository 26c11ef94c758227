import t, { type Test } from 'tap'
import { announcing, createAnnouncements } from '../../../src/store/postgres/announcements.ts'
import { createTransact } from '../../../src/store/postgres/transact.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { until } from '../../helpers/until.ts'
import { queuedJob } from '../jobs.ts'
import { startMigrated } from './migrated.ts'
import { openDatabases } from './open-databases.ts'

const { open } = await startMigrated(t)

const channel = 'job_status_commit'

/** A process on the database, which listens and counts the announcements that it receives. */
const openProcess = async (t: Test, url: string) => {
  const { writer, reads, pools: { listen } } = openDatabases(t, url)
  const payloads = new Set<string | undefined>()
  const connect = async () => {
    const client = await listen.connect()
    client.on('notification', ({ payload }) => { payloads.add(payload) })
    return client
  }
  const { announce, onAnnounced, close } = createAnnouncements({ reads, connect })
  t.teardown(close)
  let received = 0
  const stop = onAnnounced(() => { received++ })
  const transact = createTransact({ writer, now: () => performance.now(), random: Math.random })
  const add = (jobId: string) => announcing(transact, announce)(tx => insertJob(tx, queuedJob(jobId)))
  return { announce, add, stop, received: () => received, hasReceived: (payload: string) => payloads.has(payload) }
}

const openTwo = async (t: Test) => {
  const database = await open(t)
  const [one, other] = [await openProcess(t, database.url), await openProcess(t, database.url)]
  const listener = await database.connect()
  const notified: Array<string | undefined> = []
  listener.on('notification', ({ payload }) => { notified.push(payload) })
  await listener.query(`LISTEN ${channel}`)
  let marks = 0
  const sendMark = async () => {
    const mark = `mark ${++marks}`
    await database.run(`NOTIFY ${channel}, '${mark}'`)
    return mark
  }
  /** The number of announcements before a mark that all have received, and so everything before it. */
  const untilMarked = async (): Promise<number> => {
    const mark = await sendMark()
    await until(() => notified.includes(mark) && one.hasReceived(mark) && other.hasReceived(mark), 'the mark')
    return notified.splice(0).filter(payload => payload?.startsWith('mark') !== true).length
  }
  /** LISTEN is asynchronous, and a connection that was lost is opened again later. */
  const untilBothListen = async () => {
    const first = marks + 1
    const hasAny = ({ hasReceived }: typeof one) =>
      Array.from({ length: marks - first + 1 }, (_, index) => `mark ${first + index}`).some(hasReceived)
    await until(async () => {
      await sendMark()
      return hasAny(one) && hasAny(other)
    }, 'both to listen')
    await untilMarked()
  }
  await untilBothListen()
  return { ...database, one, other, notified, untilMarked, untilBothListen }
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
  const { one, other, run, untilMarked, untilBothListen } = await openTwo(t)
  await run(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND query = 'LISTEN ${channel}' AND application_name <> ''`)
  await untilBothListen()
  other.stop()
  const [receivedByOne, receivedByOther] = [one.received(), other.received()]
  await other.add('a')
  await until(() => one.received() > receivedByOne, 'the announcement')
  await one.add('b')
  await untilMarked()
  t.equal(other.received(), receivedByOther)
})
