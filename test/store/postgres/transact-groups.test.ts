import pg from 'pg'
import t, { type Test } from 'tap'
import { LeaseLost } from '../../../src/job/lease.ts'
import { insertJob, lockJob } from '../../../src/store/tx/jobs.ts'
import { findQueueItem, setLeaseEnd } from '../../../src/store/tx/runs/queue.ts'
import { createParts } from '../../helpers/parts.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { jobOf, queuedJob } from '../jobs.ts'
import { openOn, openStore } from './open.ts'

/*
 * Works of one group share a transaction and its statements. Each command still does what it does alone.
 */

const server = await startPostgres(t)

const clients = { subject: 'alice', tenant: 'acme', allTenants: false }
const reports = { types: ['report'], tenant: null }
const leaseMs = 30_000

const open = async (t: Test) => {
  const { url, store } = await openStore(t, server)
  const parts = createParts(store)
  const foreign = new pg.Client(url)
  foreign.on('error', () => {})
  await foreign.connect()
  t.teardown(() => foreign.end())
  const submit = async (count: number) => {
    for (let n = 1; n <= count; n++) await parts.submitJob(clients, { type: 'report', input: { n } }, null)
  }
  const claim = async () => await parts.claimJob(reports, 'worker', leaseMs)
  const claimAll = async (count: number) => {
    await submit(count)
    return (await Promise.all(Array.from({ length: count }, claim))).flatMap(claimed => claimed ?? [])
  }
  return {
    ...parts,
    url,
    store,
    foreign,
    submit,
    claim,
    claimAll,
    job: async (jobId: string) => jobOf(await store.jobs.find(jobId)),
    transactions: async () =>
      Number((await foreign.query<{ count: string }>('SELECT count(DISTINCT xid) FROM JobChange')).rows[0]?.count)
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

t.test('claims of one turn get one job each, the one that has waited longest first', async t => {
  const { submit, claim, transactions, url } = await open(t)
  await submit(8)
  const before = await transactions()
  const claims = await Promise.all(numbers(10).map(claim))
  t.same(claims.map(claimed => claimed === null ? null : JSON.parse(claimed.input)), [
    ...numbers(8).map(n => ({ n })), null, null
  ])
  t.equal(new Set(claims.map(claimed => claimed?.leaseToken)).size, 9)
  t.same(claims.slice(0, 8).map(claimed => claimed?.attempt), numbers(8).map(() => 1))
  t.equal(await transactions(), before + 1, 'in one transaction')

  const another = createParts((await openOn(t, url)).store)
  await submit(30)
  const claimed = await Promise.all([claim, () => another.claimJob(reports, 'other', leaseMs)].flatMap(one =>
    Array.from({ length: 15 }, one)))
  const ids = claimed.flatMap(each => each?.jobId ?? [])
  t.equal(new Set(ids).size, ids.length, 'two processes never get the same')
})

t.test('reports of one turn change each its own job', async t => {
  const { runJob, claimAll, job, transactions } = await open(t)
  const claims = await claimAll(9)
  const before = await transactions()
  await Promise.all(claims.map((lease, index) => runJob.progress(lease, { done: index, total: 10, stage: `s${index}` })))
  t.equal(await transactions(), before + 1, 'in one transaction')
  const running = await Promise.all(claims.map(({ jobId }) => job(jobId)))
  t.match(running, claims.map((_, index) => ({ state: 'running', progress: { done: index, stage: `s${index}` } })))
  t.equal(new Set(running.map(({ version }) => version)).size, 9, 'each has a version of its own')

  const bytes = (index: number) => Buffer.from(`{"n":${index}}`)
  const facts = (index: number) => ({
    contentType: 'application/json', fileName: 'r.json', sizeBytes: bytes(index).byteLength, sha256: `sha-${index}`, inlineJson: null
  })
  const entries = await Promise.all(claims.map((lease, index) => {
    switch (index % 3) {
      case 0: return runJob.complete(lease, { kind: 'given', facts: facts(index), bytes: bytes(index) })
      case 1: return runJob.fail(lease, { code: 'C', message: `m${index}` }, false)
      default: return runJob.release(lease)
    }
  }))
  t.same(entries.map(({ state }) => state), numbers(3).flatMap(() => ['succeeded', 'failed', 'queued']))
  const ended = await Promise.all(claims.map(({ jobId }) => job(jobId)))
  t.same(ended.map(({ version }) => version), entries.map(({ version }) => version))
  t.match(ended[3], { state: 'succeeded', result: { sha256: 'sha-3' } })
  t.match(ended[4], { state: 'failed', failure: { message: 'm4' } })
  t.equal(await transactions(), before + 2)
})

t.test('stores what each completion brings', async t => {
  const { runJob, claimAll, results, store } = await open(t)
  const claims = await claimAll(3)
  await Promise.all(claims.map((lease, index) => {
    const bytes = Buffer.from(`\0"\\,{}${index}`)
    const facts = { contentType: 'text/csv', fileName: 'a,"b"', sizeBytes: bytes.byteLength, sha256: `sha-${index}`, inlineJson: null }
    return runJob.complete(lease, { kind: 'given', facts, bytes })
  }))
  for (const [index, { jobId }] of claims.entries()) {
    const read = await Array.fromAsync(results.read({ jobId, sha256: `sha-${index}` }, 0, 7))
    t.equal(Buffer.concat(read).toString(), `\0"\\,{}${index}`)
    t.match((await store.jobs.findWithAttempts(jobId)).attempts, [{ attempt: 1, outcome: 'succeeded' }])
  }
})

t.test('a claim whose record the trigger of another program leaves as it is takes nothing', async t => {
  const { submit, claim, foreign, store } = await open(t)
  await submit(3)
  const { rows } = await foreign.query<{ id: string }>('SELECT jobId AS id FROM JobExecutionLog ORDER BY seq')
  const jobId = rows[1]?.id ?? ''
  await foreign.query(`CREATE FUNCTION keeping() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER keeping BEFORE UPDATE ON JobExecutionLog FOR EACH ROW WHEN (OLD.jobId = '${jobId}')
      EXECUTE FUNCTION keeping()`)
  const state = async () =>
    [await store.jobs.findWithAttempts(jobId), await store.transact(tx => findQueueItem(tx, jobId))]
  const before = await state()
  t.match(await Promise.allSettled([claim(), claim(), claim()]), [
    { value: { jobId: rows[0]?.id } },
    { reason: { message: /has changed under its lock/ } },
    { value: { jobId: rows[2]?.id } }
  ])
  t.same(await state(), before)
})

t.test('two reports on one job are both made, one after the other', async t => {
  const { runJob, claimAll, job } = await open(t)
  const [lease, other] = await claimAll(2)
  if (lease === undefined || other === undefined) throw new Error('nothing was claimed')
  await Promise.all([
    runJob.progress(lease, { stage: 'first' }), runJob.progress(other, { stage: 'x' }), runJob.progress(lease, { done: 5 })
  ])
  t.match(await job(lease.jobId), { progress: { stage: 'first', done: 5 } })
})

t.test('a report that fails takes no other with it', async t => {
  const { runJob, claimAll, job, store, count } = { ...await open(t), count: 4 }
  const claims = await claimAll(count)
  const versions = async () => await Promise.all(claims.map(async ({ jobId }) => (await job(jobId)).version))
  const before = await versions()
  const settled = await Promise.allSettled([
    runJob.progress({ jobId: claims[0]?.jobId ?? '', leaseToken: 'of-another-run' }, { stage: 'no' }),
    ...claims.map(lease => runJob.progress(lease, { stage: 'yes' }))
  ])
  t.same(settled.map(({ status }) => status), ['rejected', ...claims.map(() => 'fulfilled')])
  t.match(settled[0], { reason: LeaseLost })

  const ours = new Error('after a write')
  const jobId = claims[1]?.jobId ?? ''
  let runs = 0
  const mixed = await Promise.allSettled([
    // Undoes the transaction of the group. The others run again, by themselves.
    store.transact(async tx => {
      runs++
      await lockJob(tx, claims[0]?.jobId ?? '')
      await setLeaseEnd(tx, jobId, 7)
      throw ours
    }, 'reports'),
    store.transact(async tx => { await insertJob(tx, queuedJob(jobId)) }, 'reports'),
    ...claims.slice(2).map(lease => runJob.progress(lease, { stage: 'again' }))
  ])
  t.match(mixed, [{ reason: ours }, { reason: { code: '23505' } }, { status: 'fulfilled' }, { status: 'fulfilled' }])
  t.equal(runs, 2)
  t.match(await Promise.all(claims.map(({ jobId }) => job(jobId))), ['yes', 'yes', 'again', 'again'].map(stage =>
    ({ state: 'running', progress: { stage } })))
  const raised = (await versions()).map((version, index) => version > (before[index] ?? 0))
  t.same(raised, claims.map(() => true))
})

t.test('waits for no record that another program has locked', async t => {
  const { runJob, claimAll, job, foreign, transactions } = await open(t)
  const claims = await claimAll(4)
  const before = await transactions()
  const [locked, ...others] = claims
  if (locked === undefined) throw new Error('nothing was claimed')
  await foreign.query(`BEGIN; UPDATE JobExecutionLog SET progressMessage = 'theirs' WHERE jobId = '${locked.jobId}'`)
  const waiting = runJob.progress(locked, { stage: 'later' })
  await Promise.all(others.map(lease => runJob.progress(lease, { stage: 'now' })))
  t.match(await job(locked.jobId), { progress: { stage: null, message: null } })
  t.equal(await transactions(), before + 2, 'the others are one transaction beside theirs')
  await foreign.query('COMMIT')
  await waiting
  t.match(await job(locked.jobId), { progress: { stage: 'later', message: 'theirs' } })
})

t.test('takes nothing for done whose connection broke', async t => {
  const { runJob, submit, claim, claimAll, foreign, job } = await open(t)
  const claims = await claimAll(3)
  await submit(2)
  // The trigger ends the session that it runs in.
  await foreign.query(`CREATE FUNCTION ending() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
    CREATE TRIGGER ending BEFORE UPDATE ON JobExecutionLog FOR EACH ROW EXECUTE FUNCTION ending()`)
  const settled = await Promise.allSettled(claims.map(lease => runJob.progress(lease, { stage: 'lost' })))
  t.match(settled, claims.map(() => ({ status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })))
  const inVain = await Promise.allSettled([claim(), claim()])
  t.match(inVain, [1, 2].map(() => ({ status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })))
  await foreign.query('DROP TRIGGER ending ON JobExecutionLog')
  t.match(await Promise.all([claim(), claim()]), [{ attempt: 1, input: '{"n":1}' }, { attempt: 1, input: '{"n":2}' }])
  t.match(await Promise.all(claims.map(({ jobId }) => job(jobId))), claims.map(() => ({ progress: { stage: null } })))
  await Promise.all(claims.map(lease => runJob.progress(lease, { stage: 'kept' })))
})
