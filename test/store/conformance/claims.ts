import { insertJob } from '../../../src/store/tx/jobs.ts'
import { clearLease, dequeue, enqueue, nextAvailable, setLease, setQueueTenant } from '../../../src/store/tx/queue.ts'
import { queuedJob } from '../jobs.ts'
import { type Conformance, item, lease } from './store-under-test.ts'

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
