import t from 'tap'
import { liveTimeToLiveMs } from '../../src/cache/status-cache.ts'
import { createFillPolicy, type FillPolicy } from '../../src/status/fill-policy.ts'

const open = () => {
  let now = 1_000_000
  return { policy: createFillPolicy({ monotonicNow: () => now }), pass: (ms: number) => { now += ms } }
}

const choose = (policy: FillPolicy, jobId: string): 'get' | 'lease' | 'bypass' =>
  !policy.expectsMiss() ? 'get' : policy.isWorthFilling(jobId) ? 'lease' : 'bypass'

const times = (count: number, work: (n: number) => void) => { for (let n = 0; n < count; n++) work(n) }

const miss = (policy: FillPolicy, count: number) => { times(count, policy.onMiss) }

t.test('asks for entries while at least a quarter of the reads hit', t => {
  const { policy } = open()
  t.equal(choose(policy, 'a'), 'get')
  times(1000, n => {
    if (n % 4 === 0) policy.onHit()
    else policy.onMiss()
    if (choose(policy, `job-${n}`) !== 'get') t.fail(`after ${n} reads`)
  })
  t.end()
})

t.test('where most reads miss, the first read of a job bypasses its cell, and the next one leases it', t => {
  const { policy } = open()
  miss(policy, 100)
  t.equal(choose(policy, 'a'), 'bypass')
  t.equal(choose(policy, 'b'), 'bypass')
  t.equal(choose(policy, 'a'), 'lease')
  t.equal(choose(policy, 'a'), 'lease')
  t.end()
})

t.test('a read after the lifetime of an entry is a first read again', t => {
  const { policy, pass } = open()
  miss(policy, 100)
  times(5, () => {
    t.equal(choose(policy, 'a'), 'bypass')
    pass(liveTimeToLiveMs - 1)
    t.equal(choose(policy, 'a'), 'lease')
    pass(3 * liveTimeToLiveMs)
  })
  t.end()
})

t.test('remembers a bounded number of jobs', t => {
  const { policy } = open()
  miss(policy, 100)
  times(50_000, n => { choose(policy, `job-${n}`) })
  t.equal(choose(policy, 'job-0'), 'lease')
  times(100_000, n => { choose(policy, `other-${n}`) })
  t.equal(choose(policy, 'job-0'), 'bypass')
  t.end()
})

t.test('a few hits in a row end it, whatever was missed before', t => {
  const { policy } = open()
  miss(policy, 100_000)
  times(11, policy.onHit)
  t.equal(choose(policy, 'a'), 'get')
  times(1000, policy.onHit)
  miss(policy, 100)
  t.equal(choose(policy, 'a'), 'bypass', 'and a few misses begin it, whatever was hit before')
  t.end()
})

t.test('asks for entries again while no load ends, and after one has failed', t => {
  const { policy, pass } = open()
  miss(policy, 100)
  policy.onLoad()
  pass(80)
  policy.onLoad()
  t.equal(policy.expectsMiss(), true)
  pass(21)
  t.equal(policy.expectsMiss(), false, 'none of the loads has ended')
  t.equal(policy.isWorthFilling('a'), true)
  policy.onLoaded()
  t.equal(policy.expectsMiss(), true)
  pass(1000)
  policy.onLoaded()
  pass(1000)
  t.equal(policy.expectsMiss(), true, 'nothing is loaded')
  policy.onLoad()
  policy.onLoadFailed()
  t.equal(policy.expectsMiss(), false)
  miss(policy, 32)
  t.equal(policy.expectsMiss(), true)
  t.end()
})
