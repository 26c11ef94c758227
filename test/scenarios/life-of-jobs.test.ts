import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { createRedisCache } from '../../src/cache/redis-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { replyMsMax, startRedis } from '../helpers/redis.ts'
import { anyStep } from './life-of-jobs-commands.ts'
import { createModel } from './life-of-jobs-model.ts'
import { type MakeCache, makeTemplate, openWorld, type World } from './life-of-jobs-world.ts'

/*
 * Random lives of jobs on the real store and a real cache, held against a small model after every step: what the record
 * says, versions that rise with every visible change and with nothing else, which worker gets which job, what clients see
 * (never older than what they have seen), and that nothing is left behind.
 *
 * LIFE_RUNS multiplies the runs; LIFE_SEED and LIFE_PATH, as a failure prints them, repeat it.
 */

const times = Number(process.env.LIFE_RUNS ?? '1')
const firstSeed = Number(process.env.LIFE_SEED ?? Date.now() % 2 ** 31)
const path = process.env.LIFE_PATH

const expected = [
  'claim', 'progress', 'append', 'complete', 'fail', 'release', 'rescue', 'cancel', 'cancel-forced', 'expire'
]
const batchesMax = 12

const live = async (t: Test, seed: number, runs: number, makeCache: (run: number) => MakeCache) => {
  const directory = t.testdir()
  const template = join(directory, 'template.db')
  await makeTemplate(template)
  let run = 0
  let steps = 0
  let world: World | undefined
  const events: Record<string, number> = {}
  const onEvent = (event: string) => { events[event] = (events[event] ?? 0) + 1 }
  const end = async () => {
    steps += world?.steps() ?? 0
    await world?.close()
    world = undefined
  }
  await fc.assert(fc.asyncProperty(
    fc.boolean(), fc.commands([anyStep], { maxCommands: 60, size: 'max' }),
    async (pruneForeignRows, commands) => {
      await fc.asyncModelRun(async () => {
        const model = createModel(Date.UTC(2020, 0, 31, 12), pruneForeignRows)
        run++
        world = await openWorld(template, join(directory, `${run}.db`), makeCache(run), model, `run-${run}`, onEvent)
        world.setClock()
        return { model, real: world }
      }, commands)
    }
  ).afterEach(end), {
    numRuns: Math.ceil(runs * times), seed, ...(path === undefined ? {} : { path, endOnFailure: true })
  })
  t.comment(`${run} runs, ${steps} steps, LIFE_SEED=${seed}`)
  t.comment(`what happened: ${JSON.stringify(events)}`)
  return events
}

t.test('with the cache in memory', async t => {
  // Nothing in it ends by itself: what is old must have been outdated.
  const cache: MakeCache = () => createMemoryCache({ now: () => 1, random: () => 0 })
  const happened = new Set<string>()
  const isMissing = (event: string): boolean => !happened.has(event)
  // Sixty lives have all but the rarest events. More follow until there was one of each, so that luck fails no run.
  for (let batch = 0; batch === 0 || (path === undefined && batch < batchesMax && expected.some(isMissing)); batch++) {
    for (const event of Object.keys(await live(t, firstSeed + batch, 60, () => cache))) happened.add(event)
  }
  if (path === undefined) t.same(expected.filter(isMissing), [], 'all events happened')
})

t.test('with a Redis', async t => {
  const redis = await startRedis(t)
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(redis.url), incarnation: 'life', random: () => 0, onError: () => {}, replyMsMax
  })
  t.teardown(cache.close)
  await cache.identify()
  t.ok((await live(t, firstSeed, 10, () => () => cache)).claim)
})
