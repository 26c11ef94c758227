import { keepOwnKey } from '../../../src/store/tx/own-keys.ts'
import type { Conformance } from './store-under-test.ts'

/** Keys that the service makes itself. */
export const ownKeysConformance: Conformance = (t, open) => {
  t.test('of processes that start at once, each gets the same key', async t => {
    const { store, openAnother } = await open(t)
    const stores = [store, await openAnother()]
    const kept = await Promise.all(Array.from({ length: 6 }, (_, index) =>
      (stores[index % 2] ?? store).transact(tx => keepOwnKey(tx, 'token', `key ${index}`))))
    t.equal(new Set(kept).size, 1)
    t.equal(await store.transact(tx => keepOwnKey(tx, 'token', 'a later one')), kept[0], 'and so does a later one')
    t.equal(await store.transact(tx => keepOwnKey(tx, 'other', 'of another name')), 'of another name')
  })
}
