import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ServiceFailure } from '../../src/errors.ts'
import type { JobLookup } from '../../src/job/job.ts'
import type { Expose } from '../../src/status/expose.ts'
import type { Tx } from '../../src/store/store.ts'
import { findJob, insertJob } from '../../src/store/tx/jobs.ts'
import { createCommit } from '../../src/write/commit.ts'
import { createViews } from '../../src/views/views.ts'
import { until } from '../helpers/until.ts'
import { idOf, queuedJob } from '../store/jobs.ts'
import { openStore } from '../store/open.ts'

const { toEntry } = createViews({ publicUrl: null, onInvalid: () => {} })

/** A commit on a real store whose steps are recorded; `expose` decides what an exposure does. */
const setUp = async (t: Test, expose: Expose = async lookup => toEntry(lookup)) => {
  const { store, transact } = await openStore(t)
  const steps: string[] = []
  const commit = createCommit({
    transact,
    expose: async lookup => {
      const seen = await store.jobs.find(idOf(lookup))
      steps.push(`expose ${idOf(lookup)}, which others see as ${seen.kind}`)
      return await expose(lookup)
    },
    onTransition: (job, event) => { steps.push(`report ${event} of ${job.jobId}`) }
  })
  return { commit, store, steps }
}

const insert = async (tx: Tx, jobId: string): Promise<JobLookup> => {
  await insertJob(tx, queuedJob(jobId))
  return await findJob(tx, jobId)
}

t.test('commits, then exposes, then reports, then acknowledges', async t => {
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  const { commit, steps } = await setUp(t, async lookup => {
    await gate
    return toEntry(lookup)
  })
  const committing = commit(async tx => ({ changes: [{ lookup: await insert(tx, 'a'), event: 'claim' }], value: 7 }))
    .then(result => {
      steps.push('acknowledge')
      return result
    })
  await until(() => steps.length > 0, 'the exposure')
  await turn()
  t.same(steps, ['expose a, which others see as job'], 'an exposure under way holds the report and the acknowledgement')
  open()
  const { entries: [entry], value } = await committing
  t.same(steps.slice(1), ['report claim of a', 'acknowledge'])
  t.match({ entry, value }, { entry: { jobId: 'a', state: 'queued' }, value: 7 })
})

t.test('exposes several changes at once, and returns their entries in order', async t => {
  const begun: string[] = []
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  const { commit, steps } = await setUp(t, async lookup => {
    begun.push(idOf(lookup))
    await gate
    return toEntry(lookup)
  })
  const committing = commit(async tx => ({
    changes: [{ lookup: await insert(tx, 'a'), event: 'rescue' }, { lookup: await insert(tx, 'b'), event: 'fail' }],
    value: null
  }))
  await until(() => begun.length === 2, 'both exposures, of which neither has ended')
  open()
  t.same((await committing).entries.map(({ jobId }) => jobId), ['a', 'b'])
  t.same(steps.slice(2), ['report rescue of a', 'report fail of b'])
})

t.test('exposes what an answer only reveals, and reports changes of state alone', async t => {
  const { commit, steps } = await setUp(t)
  await commit(async tx => ({ changes: [{ lookup: await insert(tx, 'a') }], value: null }))
  for (const event of ['progress', 'append'] as const) {
    await commit(async tx => ({ changes: [{ lookup: await findJob(tx, 'a'), event }], value: null }))
  }
  await commit(async () => ({ changes: [{ lookup: { kind: 'absent', jobId: 'b' }, event: 'cancel' }], value: null }))
  t.equal(steps.length, 4)
  t.equal(steps.filter(step => step.startsWith('report')).length, 0)
})

t.test('exposes nothing if the work fails, and rolls it back', async t => {
  const { commit, store, steps } = await setUp(t)
  await t.rejects(commit(async tx => {
    await insert(tx, 'a')
    throw new Error('the work failed')
  }), { message: 'the work failed' })
  t.match(await store.jobs.find('a'), { kind: 'absent' })
  t.same(steps, [])
})

t.test('fails if the exposure fails: the change stands, is not reported, and the work can take it back', async t => {
  const unavailable = new ServiceFailure('STORE_UNAVAILABLE', 'the processes could not coordinate')
  const { commit, store, steps } = await setUp(t, () => Promise.reject(unavailable))
  await t.rejects(commit(async tx => ({
    changes: [{ lookup: await insert(tx, 'a'), event: 'claim' }],
    value: null,
    onExposeFailed: () => { steps.push('take back') }
  })), unavailable)
  t.same(steps, ['expose a, which others see as job', 'take back'])
  t.match(await store.jobs.find('a'), { kind: 'job' })
})
