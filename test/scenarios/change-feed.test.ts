import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Json } from '../helpers/client.ts'
import { openEvents } from '../helpers/events.ts'
import { createRandom, type Random } from '../helpers/random.ts'
import { startRedis } from '../helpers/redis.ts'
import { type Environment, type Service, startService } from '../helpers/service.ts'
import { openForeign } from '../store/open.ts'

/*
 * A mirror that lists the jobs, follows the changes, and is killed and started again at random, while this service and
 * another program write: in the end it holds what the database holds. On the way no version falls, and it learns of no
 * job that was never its to read.
 */

type Item = { cursor: string, jobId: string, version: number, job: Json }

const tenants = ['acme', 'other', null, ''] as const
const statuses = ['Queued', 'Running', 'Running', 'Failed'] as const

/** Writes at random, and remembers which jobs a tenant could ever read. */
const createWriter = (t: Test, service: Service, random: Random) => {
  const foreign = openForeign(t, service.databasePath, 'busy_timeout = 0')
  const readable = { acme: new Set<string>(), other: new Set<string>() }
  const allow = (jobId: string, tenant: typeof tenants[number]) => {
    for (const name of ['acme', 'other'] as const) if (tenant !== (name === 'acme' ? 'other' : 'acme')) readable[name].add(jobId)
  }
  const literal = (tenant: string | null) => tenant === null ? 'NULL' : `'${tenant}'`
  const write = (jobId: string) => {
    const tenant = random.pick(tenants)
    const step = random.below(10)
    if (step < 3) {
      const verb = random.pick(['INSERT OR IGNORE', 'REPLACE'] as const)
      allow(jobId, tenant)
      return `${verb} INTO JobExecutionLog (jobId, status, tenant) VALUES ('${jobId}', '${random.pick(statuses)}', ${literal(tenant)})`
    }
    if (step < 7) return `UPDATE JobExecutionLog SET progressPercent = ${random.below(100)} WHERE jobId = '${jobId}'`
    if (step < 9) {
      allow(jobId, tenant)
      return `UPDATE JobExecutionLog SET tenant = ${literal(tenant)} WHERE jobId = '${jobId}'`
    }
    return `DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`
  }
  return {
    readable,
    run: async () => {
      if (random.below(5) === 0) {
        const jobId = await service.submit('work', {}, { claims: { tenant: 'acme' } })
        readable.acme.add(jobId)
        if (random.below(2) === 0) {
          await service.ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST', claims: { tenant: 'acme' } })
        }
        return
      }
      const jobIds = Array.from({ length: 1 + random.below(4) }, () => `job-${random.below(12)}`)
      try {
        foreign.exec(`BEGIN IMMEDIATE; ${jobIds.map(write).join(';')}; COMMIT`)
      } catch {
        // A status that is final is not left, and the service may be writing.
        if (foreign.inTransaction) foreign.exec('ROLLBACK')
      }
    }
  }
}

type Kept = { cursor: string | null, jobs: Map<string, Item> }

/** A mirror of one tenant. `kept` is what survives when it is killed. */
const createMirror = (t: Test, service: Service, tenant: 'acme' | 'other', random: Random) => {
  const claims = { tenant }
  let kept: Kept = { cursor: null, jobs: new Map() }
  let mirror: Kept = { cursor: null, jobs: new Map() }
  const learned = new Set<string>()
  const counts = { items: 0, kills: 0 }

  const list = async () => {
    const jobs = new Map<string, Item>()
    let cursor: string | null = null
    for (let next: string | null = ''; next !== null;) {
      const answer = await service.ask(`/api/v1/jobs?limit=20${next === '' ? '' : `&cursor=${next}`}`, { claims })
      cursor ??= answer.headers.get('changes-cursor')
      const page = await answer.json() as { items: Json[], nextCursor: string | null }
      for (const job of page.items) jobs.set(job.jobId, { cursor: '', jobId: job.jobId, version: 0, job })
      next = page.nextCursor
    }
    return { cursor, jobs }
  }

  const apply = (item: Item) => {
    counts.items += 1
    learned.add(item.jobId)
    const { version = 0 } = mirror.jobs.get(item.jobId) ?? {}
    if (item.version < version) t.fail(`${item.jobId} fell from ${version} to ${item.version}`)
    mirror.jobs.set(item.jobId, item)
    mirror.cursor = item.cursor
    if (random.below(4) === 0) kept = { cursor: mirror.cursor, jobs: new Map(mirror.jobs) }
  }

  const restart = async () => {
    mirror = { cursor: kept.cursor, jobs: new Map(kept.jobs) }
    if (mirror.cursor === null) kept = mirror = await list()
  }

  /** Reads one page. Returns whether there may be more. */
  const readPage = async (limit: number, wait = 0): Promise<boolean> => {
    const path = `/api/v1/events?since=${mirror.cursor}&limit=${limit}&wait=${wait}`
    const page = await service.askJson(path, { claims }) as { items: Item[], cursor: string, hasMore: boolean }
    for (const item of page.items) apply(item)
    mirror.cursor = page.cursor
    return page.hasMore || page.items.length > 0
  }

  const readEvents = async (count: number) => {
    const headers = { accept: 'text/event-stream', 'last-event-id': mirror.cursor ?? '' }
    const { next, close } = await openEvents(service, '/api/v1/events', { claims, headers })
    for (let read = 0; read < count; read += 1) {
      const event = await next()
      if (event === undefined) break
      const item = JSON.parse(event.data) as Item
      if (event.id !== item.cursor || (event.event === 'gone') !== (item.job === null)) t.fail(JSON.stringify(event))
      apply(item)
    }
    await close()
  }

  return {
    learned,
    counts,
    /** Follows for a while, in one way or the other, and is killed now and then. */
    run: async () => {
      if (mirror.cursor === null || random.below(3) === 0) {
        await restart()
        counts.kills += 1
      }
      if (random.below(2) === 0) await readPage(random.pick([1, 2, 100]), 1)
      else await readEvents(1 + random.below(5))
    },
    /** What it holds once it has read all. */
    finish: async () => {
      await restart()
      while (await readPage(50));
      return [...mirror.jobs.values()].filter(({ job }) => job !== null)
        .map(({ job }) => job).sort((a, b) => a.jobId < b.jobId ? -1 : 1)
    },
    present: async () => [...(await list()).jobs.values()].map(({ job }) => job).sort((a, b) => a.jobId < b.jobId ? -1 : 1)
  }
}

const converges = async (t: Test, env: Environment, seed: number) => {
  const service = await startService(t, { WORKERS: '0', ...env })
  const writer = createWriter(t, service, createRandom(seed))
  const mirrors = (['acme', 'other'] as const).map((tenant, index) => ({
    tenant, ...createMirror(t, service, tenant, createRandom(seed + 1 + index))
  }))
  let isWriting = true
  const following = mirrors.map(async ({ run }) => { while (isWriting) await run() })
  for (let round = 0; round < 600; round += 1) {
    await writer.run()
    await turn()
  }
  isWriting = false
  let isOver = false
  const followed = Promise.all(following).then(() => { isOver = true })
  // Streams that wait for an event get one.
  while (!isOver) {
    await writer.run()
    await turn()
  }
  await followed
  for (const { tenant, learned, counts, finish, present } of mirrors) {
    t.strictSame(await finish(), await present(), `${tenant}: ${JSON.stringify(counts)}, FEED_SEED=${seed}`)
    t.same([...learned].filter(jobId => !writer.readable[tenant].has(jobId)), [], 'it learned of no other job')
    t.ok(counts.items > 100 && counts.kills > 5, JSON.stringify(counts))
  }
}

const seed = Number(process.env.FEED_SEED ?? Date.now() % 2 ** 31)

t.test('a mirror that is killed and started again converges, with the cache in memory', t => converges(t, {}, seed))

t.test('a mirror that is killed and started again converges, with a Redis', async t => {
  const redis = await startRedis(t)
  await converges(t, { REDIS_URL: redis.url }, seed)
})
