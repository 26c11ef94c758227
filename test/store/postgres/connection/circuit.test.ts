import pg from 'pg'
import t, { type Test } from 'tap'
import { asProbe, createCircuit } from '../../../../src/store/postgres/connection/circuit.ts'
import { ConnectionLost, DatabaseReplaced } from '../../../../src/store/postgres/failures.ts'
import { insertJob } from '../../../../src/store/tx/jobs.ts'
import { startPostgres } from '../../../helpers/postgres.ts'
import { allJobs, queuedJob } from '../../jobs.ts'
import { openStore } from '../open.ts'

const unavailable = { code: 'STORE_UNAVAILABLE', cause: { name: 'ConnectionLost' } }

/** Fails unless the work ends before a read of the epoch, which takes its whole time limit. */
const endsAtOnce = async (t: Test, probe: () => Promise<unknown>, work: () => Promise<void>) => {
  let isProbing = true
  const probing = probe().catch(() => {}).finally(() => { isProbing = false })
  await work()
  t.ok(isProbing, 'at once')
  await probing
}

t.test('while the server is suspended, everything fails at once; a commit under way is waited for', async t => {
  const server = await startPostgres(t)
  const { store } = await openStore(t, server)
  await store.transact(tx => insertJob(tx, queuedJob('known')))
  await store.epoch.read()
  const { promise: paused, resolve: notePause } = Promise.withResolvers<null>()
  const committing = store.transact(async tx => {
    await insertJob(tx, queuedJob('committed'))
    server.pause()
    notePause(null)
  })
  await paused
  // More reads than there are connections.
  const underWay = Array.from({ length: 8 }, (_, index) => store.jobs.list(allJobs, null, index + 1))
  const writing = store.transact(tx => insertJob(tx, queuedJob('lost')))
  const ended = Promise.allSettled([...underWay, store.jobs.find('known'), store.jobs.ping(), writing])
  let isOver = false
  void ended.then(() => { isOver = true })
  let probes = 0
  for (; !isOver; probes++) await store.epoch.read().catch(() => {})
  for (const each of await ended) t.match(each, { status: 'rejected', reason: unavailable })
  t.ok(probes <= 4, `after ${probes} reads of the epoch that were not answered`)

  await endsAtOnce(t, store.epoch.read, async () => {
    for (let trial = 0; trial < 20; trial++) {
      await t.rejects(store.jobs.find('known'), unavailable)
      await t.rejects(store.jobs.list(allJobs, null, 10), unavailable)
      await t.rejects(store.transact(tx => insertJob(tx, queuedJob('lost'))), unavailable)
    }
  })
  server.resume()
  await committing
  await store.epoch.read()
  t.match(await store.jobs.find('committed'), { kind: 'job' })
  t.match(await store.jobs.find('lost'), { kind: 'absent' })
  await store.transact(tx => insertJob(tx, queuedJob('later')))
})

t.test('a server on which another program has locked the rows of the epoch has an answer for everything else', async t => {
  const server = await startPostgres(t)
  const { url, store } = await openStore(t, server)
  await store.epoch.read()
  const holder = new pg.Client({ connectionString: url })
  await holder.connect()
  await holder.query('BEGIN; LOCK TABLE CacheEpoch')
  for (let probe = 0; probe < 6; probe++) {
    await t.rejects(store.epoch.read(), { code: 'STORE_UNAVAILABLE', cause: { code: '55P03' } })
  }
  await store.transact(tx => insertJob(tx, queuedJob('meanwhile')))
  t.match(await store.jobs.find('meanwhile'), { kind: 'job' })
  await holder.end()
  await store.epoch.read()
})

const lost = new ConnectionLost('no answer')

/** A probe, and whether it has opened the circuit. */
const openProbe = () => {
  const circuit = createCircuit()
  let ms = 0
  return {
    circuit,
    /** Probes once, with an answer or a failure after some time. */
    probe: (() => {
      let next = (): Promise<void> => Promise.resolve()
      const probe = asProbe(() => next(), { circuit, monotonicNow: () => ms })
      return async (failure: Error | null, afterMs: number) => {
        next = () => {
          ms += afterMs
          return failure === null ? Promise.resolve() : Promise.reject(failure)
        }
        await probe().catch(() => {})
      }
    })(),
    isOpen: () => {
      try {
        circuit.requireClosed()
        return false
      } catch {
        return true
      }
    }
  }
}

t.test('neither a standstill of the process nor a failure that comes at once opens it', async t => {
  const { probe, isOpen } = openProbe()
  await probe(lost, 60_000)
  await probe(lost, 500)
  t.notOk(isOpen(), 'those that were under way in a standstill')
  await probe(null, 0)
  for (let trial = 0; trial < 100; trial++) await probe(lost, 100)
  t.notOk(isOpen(), 'connections that are refused')
  for (let trial = 0; trial < 5; trial++) await probe(new Error('rejected by the server'), 1000)
  t.notOk(isOpen())
  await probe(null, 0)
  for (let trial = 0; trial < 3; trial++) await probe(lost, 500)
  t.ok(isOpen())
  await probe(null, 0)
  t.notOk(isOpen(), 'one answer is enough')
})

t.test('a database that was replaced stays so', async t => {
  const { circuit, probe, isOpen } = openProbe()
  let cut: Error | undefined
  circuit.enter(failure => { cut = failure })
  const replaced = new DatabaseReplaced('one', 'other')
  circuit.open(replaced)
  t.equal(cut, replaced)
  for (let trial = 0; trial < 5; trial++) await probe(lost, 1000)
  await probe(null, 0)
  t.ok(isOpen())
  t.throws(() => { circuit.requireClosed() }, replaced)
})

t.test('a connection that comes too late is released', async t => {
  const circuit = createCircuit()
  const { promise, resolve } = Promise.withResolvers<{ release: () => void }>()
  const admitted = circuit.admit(promise)
  circuit.open(lost)
  await t.rejects(admitted, { name: 'ConnectionLost' })
  let releases = 0
  resolve({ release: () => { releases++ } })
  await promise
  t.equal(releases, 1)
})
