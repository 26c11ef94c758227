import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { DatabaseReplaced } from '../../../../src/store/postgres/failures.ts'
import { identity } from '../../../../src/store/postgres/identity/identity.ts'
import { createReadEpochRows } from '../../../../src/store/postgres/readers/epoch-rows.ts'
import { until } from '../../../helpers/until.ts'
import { startMigrated } from '../migrated.ts'
import { openDatabases } from '../open-databases.ts'

const { server, open } = await startMigrated(t)

const openReader = async (t: Test) => {
  const database = await open(t)
  const { reads } = openDatabases(t, database.url)
  const own = openDatabases(t, database.url)
  const findIdentity = async () => (await sql<{ is: string | null }>`SELECT ${identity} AS is`.execute(reads)).rows[0]?.is ?? ''
  const found = await findIdentity()
  const incarnation = String(await database.value("SELECT value FROM ServiceState WHERE name = 'incarnation'"))
  let replacements = 0
  own.pin(found, () => { replacements++ })
  const read = createReadEpochRows({ database: own, incarnation, observe: () => {}, ownNow: () => 0, monotonicNow: () => performance.now() })
  return { ...database, found, findIdentity, read, replacements: () => replacements }
}

const isOff = { epoch: { mode: 'off' }, nodes: [] }

/** A read that finds no answer within half a second gives up, which is short for a new connection on a busy machine. */
const untilRead = (read: ReturnType<typeof createReadEpochRows>) => until(() => read().catch(() => undefined), 'an answer')

t.test('reads no rows of another database, of another cluster or of a table that was made again', async t => {
  const { run, read, found, findIdentity, replacements } = await openReader(t)
  t.match(found, /^\d+-0000000\d-\d+-\d+$/)
  t.match(await untilRead(read), isOff)
  const { read: readOther, found: other } = await openReader(t)
  t.not(other, found)
  t.match(await untilRead(readOther), isOff)
  await run('ALTER TABLE JobExecutionLog RENAME TO Old; CREATE TABLE JobExecutionLog (LIKE Old)')
  const cause = new DatabaseReplaced(found, await findIdentity())
  t.equal(replacements(), 0)
  for (let reads = 0; reads < 2; reads++) await t.rejects(read(), { code: 'STORE_UNAVAILABLE', cause })
  t.equal(replacements(), 1, 'and says so once')
  await run('DROP TABLE JobExecutionLog; ALTER TABLE Old RENAME TO JobExecutionLog')
  t.match(await untilRead(read), isOff)
})

t.test('reads no rows of another incarnation', async t => {
  const { run, read, replacements } = await openReader(t)
  await run("UPDATE ServiceState SET value = 'another' WHERE name = 'incarnation'")
  for (let reads = 0; reads < 2; reads++) {
    await t.rejects(read(), { code: 'STORE_UNAVAILABLE', cause: { message: /with another incarnation$/ } })
  }
  t.equal(replacements(), 1, 'and says so once')
})

t.test('a crash does not make another database', async t => {
  const { read, found, findIdentity } = await openReader(t)
  await server.kill()
  await t.rejects(read(), { code: 'STORE_UNAVAILABLE' })
  await server.restart()
  t.equal(await findIdentity(), found)
  t.match(await untilRead(read), isOff)
})

t.test('a read that hangs ends by itself, and holds back no later one', async t => {
  const { connect, read } = await openReader(t)
  t.match(await untilRead(read), isOff)
  const holder = await connect()
  await holder.query('BEGIN; LOCK TABLE CacheEpoch')
  // As many as there are connections, and more.
  const hanging = await Promise.allSettled(Array.from({ length: 3 }, () => read()))
  for (const each of hanging) t.match(each, { status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })
  await holder.query('ROLLBACK')
  t.match(await read(), isOff)
})
