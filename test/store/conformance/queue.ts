import type { StuckBy, Tx } from '../../../src/store/store.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { appendInputBytes, findInput, insertInput } from '../../../src/store/tx/inputs.ts'
import {
  clearLease, dequeue, enqueue, findQueueItem, findStuck, setCancelDue, setContentInfo, setLease
} from '../../../src/store/tx/runs/queue.ts'
import { queuedJob } from '../jobs.ts'
import { type Conformance, input, item, lease } from './store-under-test.ts'

const submit = async (tx: Tx, queued: Parameters<typeof enqueue>[1]): Promise<void> => {
  await insertJob(tx, queuedJob(queued.jobId))
  await enqueue(tx, queued)
}

/** Queue items, their leases and what ends them. */
export const queueConformance: Conformance = (t, open) => {
  t.test('finds stuck jobs by their lease, their deadline, their cancellation or their holder', async t => {
    const { store: { transact, queue } } = await open(t)
    await transact(async tx => {
      for (const [jobId, leaseHolder, leaseExpiresAt, deadlineAt] of [
        ['a', 'w1', 300, 50], ['b', 'w2', 100, 40], ['c', 'w1', 200, null]
      ] as const) {
        await submit(tx, item(jobId))
        await setLease(tx, jobId, lease(jobId, { leaseHolder, leaseExpiresAt, deadlineAt }))
      }
      await submit(tx, item('free'))
      await setCancelDue(tx, 'c', 70)
      await setCancelDue(tx, 'c', 90)
    })
    const find = (by: StuckBy, limit = 10) =>
      transact(async tx => (await findStuck(tx, by, limit)).map(({ jobId }) => jobId))
    t.same(await find({ leaseExpiredAt: 99 }), [])
    t.same([await queue.hasStuck({ leaseExpiredAt: 99 }), await queue.hasStuck({ leaseExpiredAt: 100 })], [false, true])
    t.same([await queue.hasStuck({ holder: 'w3' }), await queue.hasStuck({ holder: 'w1' })], [false, true])
    t.same(await find({ leaseExpiredAt: 200 }), ['b', 'c'])
    t.same(await find({ leaseExpiredAt: 1000 }, 1), ['b'])
    t.same((await find({ holder: 'w1' })).toSorted(), ['a', 'c'])
    t.same(await find({ deadlineAt: 39 }), [])
    t.same(await find({ deadlineAt: 49 }), ['b'])
    t.same((await find({ deadlineAt: 1000 })).toSorted(), ['a', 'b'])
    t.same(await find({ cancelDueAt: 69 }), [])
    t.same(await find({ cancelDueAt: 70 }), ['c'], 'the first time that was set stands')
  })

  t.test('counts the jobs of each type, and knows since when the oldest queued one can be claimed', async t => {
    const { store: { transact, queue } } = await open(t)
    t.same(await queue.count(), [])
    await transact(async tx => {
      for (const [jobId, type, availableAt] of [
        ['a', 'report', 30], ['b', 'report', 20], ['c', 'report', 10], ['d', 'mail', 40], ['e', 'scan', 50]
      ] as const) {
        await submit(tx, { ...item(jobId, availableAt), type })
      }
      for (const jobId of ['c', 'e']) await setLease(tx, jobId, lease(jobId))
    })
    t.same((await queue.count()).toSorted((a, b) => a.type < b.type ? -1 : 1), [
      { type: 'mail', queued: 1, running: 0, oldestAt: 40 },
      { type: 'report', queued: 2, running: 1, oldestAt: 20 },
      { type: 'scan', queued: 0, running: 1, oldestAt: null }
    ])
  })

  t.test('clears everything of a run when its lease is cleared', async t => {
    const { store: { transact } } = await open(t)
    await transact(async tx => {
      await submit(tx, item('j'))
      await setLease(tx, 'j', lease('a', { deadlineAt: 5 }))
      await setCancelDue(tx, 'j', 7)
      await setContentInfo(tx, 'j', { contentType: 'text/csv', fileName: 'r.csv' })
    })
    t.match(await transact(tx => findQueueItem(tx, 'j')), {
      leaseToken: 'a',
      leaseMs: 30,
      deadlineAt: 5,
      cancelDueAt: 7,
      resultContentType: 'text/csv',
      resultFileName: 'r.csv'
    })
    await transact(tx => clearLease(tx, 'j', 9))
    t.same(await transact(tx => findQueueItem(tx, 'j')), {
      ...item('j', 9),
      ...Object.fromEntries([
        'leaseToken', 'leaseHolder', 'leaseMs', 'leaseExpiresAt', 'deadlineAt', 'cancelDueAt', 'resultContentType',
        'resultFileName'
      ].map(name => [name, null]))
    })
  })

  t.test('keeps the input of a job that leaves the queue', async t => {
    const { store: { transact } } = await open(t)
    const raw = { inputId: 'i', sizeBytes: 3, contentType: 'text/plain' }
    await transact(async tx => {
      await submit(tx, { ...item('j'), timeoutMs: 5, resultRetentionMs: 6 })
      await insertInput(tx, 'j', input)
      await submit(tx, item('k'))
      await appendInputBytes(tx, raw.inputId, 0, Buffer.from('abc'), 0)
      await insertInput(tx, 'k', { ...input, raw })
    })
    t.same(await transact(tx => findInput(tx, 'j')), input)
    t.same(await transact(tx => findInput(tx, 'k')), { ...input, raw })
    t.match(await transact(tx => findQueueItem(tx, 'j')), {
      ...item('j'), timeoutMs: 5, resultRetentionMs: 6, leaseToken: null
    })
    await transact(tx => dequeue(tx, 'j'))
    t.equal(await transact(tx => findQueueItem(tx, 'j')), undefined)
    t.ok(await transact(tx => findInput(tx, 'j')))
  })
}
