import { insertAttempt } from '../../../src/store/tx/runs/attempts.ts'
import { nextAvailable } from '../../../src/store/tx/runs/available.ts'
import { beginRun } from '../../../src/store/tx/runs/begin-run.ts'
import { insertInput } from '../../../src/store/tx/inputs.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { clearLease, dequeue, enqueue, findQueueItem, setLease, setQueueTenant } from '../../../src/store/tx/runs/queue.ts'
import { appendBytes } from '../../../src/store/tx/results.ts'
import { jobOf, queuedJob, runningJob } from '../jobs.ts'
import { type Conformance, input, item, lease } from './store-under-test.ts'

/** Which job a claim takes. */
export const claimsConformance: Conformance = (t, open) => {
  t.test('yields the job of these types that has been available longest and is not leased', async t => {
    const { store: { transact } } = await open(t)
    const next = (types: string[], now: number) =>
      transact(async tx => (await nextAvailable(tx, { types, tenant: null }, now))?.jobId)
    await transact(async tx => {
      for (const jobId of ['late', 'first', 'second', 'other']) await insertJob(tx, queuedJob(jobId))
      await enqueue(tx, item('late', 300))
      await enqueue(tx, item('first', 100))
      await enqueue(tx, item('second', 100))
      await enqueue(tx, { ...item('other', 50), type: 'sanitize' })
    })
    t.equal(await next(['report'], 99), undefined)
    t.equal(await next(['report'], 100), 'first')
    t.equal(await next(['report', 'sanitize'], 100), 'other')
    t.equal(await next(['sanitize', 'report'], 100), 'other', 'whatever the order of the types')
    t.equal(await next(['nothing'], 1000), undefined)
    t.equal(await next([], 1000), undefined)
    await transact(tx => setLease(tx, 'first', lease('a')))
    t.equal(await next(['report'], 100), 'second')
    await transact(tx => clearLease(tx, 'first', 250))
    await transact(tx => dequeue(tx, 'second'))
    t.equal(await next(['report'], 249), undefined)
    t.equal(await next(['report'], 1000), 'first')
  })

  t.test('yields the job that was submitted first, if several have been available equally long, whatever their types', async t => {
    const { store: { transact } } = await open(t)
    const next = (types: string[]) =>
      transact(async tx => (await nextAvailable(tx, { types, tenant: null }, 0))?.jobId)
    await transact(async tx => {
      for (const jobId of ['b', 'c', 'a']) await insertJob(tx, queuedJob(jobId))
      await enqueue(tx, item('a'))
      await enqueue(tx, item('c'))
      await enqueue(tx, { ...item('b'), type: 'sanitize' })
    })
    for (const types of [['report', 'sanitize'], ['sanitize', 'report']]) t.equal(await next(types), 'b')
    await transact(tx => setLease(tx, 'b', lease('b')))
    t.equal(await next(['report', 'sanitize']), 'c')
    await transact(async tx => {
      await setLease(tx, 'c', lease('c'))
      await clearLease(tx, 'b', 0)
    })
    t.equal(await next(['report', 'sanitize']), 'b', 'also when it is returned to the queue')
  })

  t.test('yields jobs of one tenant, or of all', async t => {
    const { store: { transact } } = await open(t)
    const next = (tenant: string | null) =>
      transact(async tx => (await nextAvailable(tx, { types: ['report'], tenant }, 1000))?.jobId)
    await transact(async tx => {
      for (const jobId of ['theirs', 'ours']) await insertJob(tx, queuedJob(jobId))
      await enqueue(tx, { ...item('theirs', 1), tenant: 'other' })
      await enqueue(tx, item('ours', 2))
    })
    t.same([await next('acme'), await next('other'), await next('third'), await next(null)], [
      'ours', 'theirs', undefined, 'theirs'
    ])
    await transact(tx => setQueueTenant(tx, 'theirs', 'acme'))
    t.same([await next('acme'), await next('other')], ['theirs', undefined])
    await transact(tx => setQueueTenant(tx, 'theirs', null))
    t.same([
      await next('acme'), await next(null)
    ], ['ours', 'theirs'], 'a job without a tenant is only for workers of all tenants')
  })

  t.test('yields a job with all that a claim reads of it', async t => {
    const { store: { transact, jobs } } = await open(t)
    const next = () => transact(tx => nextAvailable(tx, { types: ['report'], tenant: null }, 0))
    const raw = { inputId: 'i', sizeBytes: 0, contentType: 'image/png' }
    await transact(async tx => {
      await insertJob(tx, queuedJob('j', { type: 'renamed' }))
      await enqueue(tx, { ...item('j'), maxAttempts: 7, timeoutMs: 9000 })
    })
    const lookup = await jobs.find('j')
    const found = { jobId: 'j', type: 'report', maxAttempts: 7, timeoutMs: 9000, lookup }
    t.match(await next(), { ...found, input: undefined, latestRun: 0, sizeBytes: 0 })
    await transact(async tx => {
      await insertInput(tx, 'j', { ...input, raw })
      const start = { jobId: 'j', attempt: 3, leaseHash: 'h', startedAt: 5 }
      await insertAttempt(tx, start, 0)
      await insertAttempt(tx, { ...start, leaseHash: 'i' }, 3)
      await appendBytes(tx, 'j', await appendBytes(tx, 'j', 0, Buffer.from('one')), Buffer.from('more'))
    })
    t.match(await next(), { ...found, input: { ...input, raw }, latestRun: 4, sizeBytes: 7 })
  })

  t.test('a run begins with record, attempt and lease, or not at all', async t => {
    const { store: { transact, jobs } } = await open(t)
    await transact(async tx => {
      await insertJob(tx, queuedJob('j'))
      await enqueue(tx, item('j'))
    })
    const queued = jobOf(await jobs.find('j'))
    const begin = (version: number, leaseToken: string) => transact(async tx => {
      const start = { jobId: 'j', attempt: 1, leaseHash: leaseToken, startedAt: 5 }
      const more = { leaseMs: 7, leaseExpiresAt: 8, deadlineAt: 9 }
      const begun = await beginRun(tx, runningJob('j', { version }), start, 0, lease(leaseToken, more))
      if (begun === undefined) throw new Error('nothing has begun')
      return begun
    })
    const state = async () => [await jobs.findWithAttempts('j'), await transact(tx => findQueueItem(tx, 'j'))]
    const before = await state()
    await t.rejects(begin(queued.version - 1, 'late'), { message: 'nothing has begun' })
    t.same(await state(), before)
    const begun = await begin(queued.version, 'a')
    t.same(jobOf(begun), runningJob('j', { version: jobOf(begun).version, createdAt: queued.createdAt }))
    t.ok(jobOf(begun).version > queued.version)
    t.match(await state(), [
      { lookup: begun, attempts: [{ attempt: 1, startedAt: 5, outcome: null }] },
      { leaseToken: 'a', leaseHolder: 'w', leaseMs: 7, leaseExpiresAt: 8, deadlineAt: 9, cancelDueAt: null }
    ])
  })

  t.test('a reader answers without a lock whether a job is available', async t => {
    const { store: { transact, queue } } = await open(t)
    const filter = { types: ['sanitize', 'report'], tenant: 'acme' }
    t.equal(await queue.hasAvailable(filter, 100), false)
    await transact(async tx => {
      await insertJob(tx, queuedJob('j'))
      await enqueue(tx, item('j', 100))
    })
    t.same([await queue.hasAvailable(filter, 99), await queue.hasAvailable(filter, 100)], [false, true])
    t.equal(await queue.hasAvailable({ ...filter, types: ['sanitize'] }, 100), false)
    t.equal(await queue.hasAvailable({ ...filter, types: [] }, 100), false)
    t.same(await Promise.all(['globex', null].map(
      tenant => queue.hasAvailable({ ...filter, tenant }, 100)
    )), [false, true])
    await transact(async tx => {
      await setLease(tx, 'j', lease('a'))
      t.equal(await queue.hasAvailable(filter, 100), true, 'until the claim is committed')
    })
    t.equal(await queue.hasAvailable(filter, 100), false)
  })
}
