import {
  type IdempotencyRecord, pruneIdempotencyKeys, reserveIdempotencyKey
} from '../../../src/store/tx/idempotency.ts'
import type { Conformance } from './store-under-test.ts'

const use = (jobId: string, createdAt: number): IdempotencyRecord => ({ requestHash: 'h', jobId, createdAt })

/** Idempotency keys. */
export const idempotencyConformance: Conformance = (t, open) => {
  t.test('reserves a key once per tenant while it is kept', async t => {
    const { store: { transact } } = await open(t)
    const reserve = (tenant: string, record: IdempotencyRecord, keptSince = 0) =>
      transact(tx => reserveIdempotencyKey(tx, tenant, 'k', record, keptSince))
    t.equal(await reserve('acme', use('j1', 1000)), undefined)
    t.same(await reserve('acme', use('j2', 1200), 999), use('j1', 1000), 'the first use stands')
    t.equal(await reserve('globex', use('theirs', 1500)), undefined)
    t.equal(await reserve('acme', use('j2', 1200), 1000), undefined, 'a key that is too old is free again')
    t.same(await reserve('acme', use('j3', 1300), 1199), use('j2', 1200))
  })

  t.test('of several submissions at once, one reserves the key', async t => {
    const { store, openAnother } = await open(t)
    const stores = [store, await openAnother()]
    const outcomes = await Promise.all(Array.from({ length: 10 }, (_, index) => (stores[index % 2] ?? store)
      .transact(tx => reserveIdempotencyKey(tx, 'acme', 'k', use(`j${index}`, 1000), 0))))
    t.equal(outcomes.filter(outcome => outcome === undefined).length, 1)
    t.equal(new Set(outcomes.flatMap(outcome => outcome?.jobId ?? [])).size, 1, 'the others get its job')
  })

  t.test('frees the key of a submission that was undone', async t => {
    const { store: { transact } } = await open(t)
    await t.rejects(transact(async tx => {
      await reserveIdempotencyKey(tx, 'acme', 'k', use('j1', 1000), 0)
      throw new Error('no job')
    }), { message: 'no job' })
    t.equal(await transact(tx => reserveIdempotencyKey(tx, 'acme', 'k', use('j2', 1000), 0)), undefined)
  })

  t.test('prunes keys by their age, oldest first', async t => {
    const { store: { transact, retention }, count } = await open(t)
    t.equal(await retention.hasOldIdempotencyKeys(Number.MAX_SAFE_INTEGER), false)
    for (const [key, createdAt] of [['b', 200], ['a', 100], ['c', 300]] as const) {
      await transact(tx => reserveIdempotencyKey(tx, 'acme', key, use('j', createdAt), 0))
    }
    t.same([await retention.hasOldIdempotencyKeys(100), await retention.hasOldIdempotencyKeys(101)], [false, true])
    t.equal(await transact(tx => pruneIdempotencyKeys(tx, 100, 10)), 0, 'a key of exactly this age stays')
    t.equal(await transact(tx => pruneIdempotencyKeys(tx, 1000, 1)), 1, 'no more than the limit')
    t.same(await Promise.all(['a', 'b', 'c'].map(key => count(`IdempotencyKey WHERE key = '${key}'`))), [0, 1, 1])
    t.equal(await transact(tx => pruneIdempotencyKeys(tx, 300, 10)), 1)
    t.equal(await count('IdempotencyKey'), 1)
  })
}
