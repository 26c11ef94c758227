import { setTimeout as delay } from 'node:timers/promises'
import { type NextRequest, startLoad } from '../load.ts'
import { toRequest } from '../requests.ts'
import { startRedis } from '../servers.ts'
import { createHistogram, recordMs } from '../statistics.ts'
import { authorization, median, printTable, startService, toMiB } from './service.ts'

/*
 * Half of the capacity, for ten minutes (SOAK_MINUTES): measures whether memory, handles or latencies grow with time.
 */

const minutes = Number(process.env.SOAK_MINUTES ?? 10)
const connections = 50
const submissionsPerSecond = 20
const capacitySeconds = 5
const slices = 10
// The size of the heap depends on the time since the last garbage collection, so it varies by the garbage of one
// cycle.
const growthMax = 1.3
const handlesMax = 20
const latencyGrowthMax = 1.5
const p99MsMin = 10

const redis = await startRedis()
const { url, rssBytes, metric, stop } = await startService({ LOG_LEVEL: 'info', REDIS_URL: redis.url, WORKERS: '1' })
const json = { authorization, 'content-type': 'application/json' }
const input = { content: '<p onclick="x()">some text</p>', contentType: 'text/html' }
const submission = JSON.stringify({ type: 'sanitize', input })

const submit = async (): Promise<string> => {
  const answer = await fetch(`${url}/api/v1/jobs`, { method: 'POST', headers: json, body: submission })
  return (await answer.json() as { jobId: string }).jobId
}

const jobIds = await Promise.all(Array.from({ length: 500 }, submit))
const polls = jobIds.map(jobId => toRequest('GET', url, `/api/v1/jobs/${jobId}`, { authorization }))
let next = 0
const nextPoll: NextRequest = () => polls[next++ % polls.length] as Buffer

const measureCapacity = async (): Promise<number> => {
  const load = startLoad({ url, connections, rate: null, nextRequest: nextPoll, expectedStatus: 200 })
  await delay(1000)
  load.begin()
  await delay(capacitySeconds * 1000)
  const { answered, seconds } = load.end()
  await load.stop()
  return answered / seconds
}

type Slice = { rss: number, heap: number, handles: number, p99: number }

const takeSlices = async (rate: number): Promise<{ taken: Slice[], failures: number }> => {
  let histogram = createHistogram()
  const onAnswer = (_status: number, ms: number) => { recordMs(histogram, ms) }
  const reads = startLoad({ url, connections, rate, nextRequest: nextPoll, expectedStatus: 200, onAnswer })
  const headers = { ...json, 'content-length': String(submission.length) }
  const request = toRequest('POST', url, '/api/v1/jobs', headers, submission)
  const writes = startLoad({
    url, connections: 5, rate: submissionsPerSecond, nextRequest: () => request, expectedStatus: 202
  })
  const taken: Slice[] = []
  for (let slice = 0; slice < slices; slice++) {
    histogram = createHistogram()
    await delay(minutes * 60_000 / slices)
    taken.push({
      rss: rssBytes(),
      heap: await metric('nodejs_heap_size_used_bytes'),
      handles: await metric('nodejs_active_resources_total'),
      p99: histogram.getValueAtPercentile(99) / 1000
    })
  }
  await reads.stop()
  await writes.stop()
  const failed = [reads, writes].map(load => load.failures())
  return { taken, failures: failed.reduce((sum, { errors, unexpected }) => sum + errors + unexpected, 0) }
}

try {
  const capacity = await measureCapacity()
  const { taken, failures } = await takeSlices(capacity / 2)
  // The first slice is left out, because caches are still filling.
  const early = taken.slice(1, slices / 2)
  const late = taken.slice(slices / 2)
  const of = (part: Slice[], figure: keyof Slice) => median(part.map(slice => slice[figure]))
  const both = (figure: keyof Slice, toText: (value: number) => string) =>
    `${toText(of(early, figure))}, ${toText(of(late, figure))}`
  printTable({
    'reads per second, capacity': `${(capacity / 2).toFixed(0)}, ${capacity.toFixed(0)}`,
    'submissions per second, minutes': `${submissionsPerSecond}, ${minutes}`,
    'missing or unexpected responses': failures,
    'resident memory, first and second half': both('rss', toMiB),
    'heap in use': both('heap', toMiB),
    'handles and timers': both('handles', String),
    p99: both('p99', value => `${value.toFixed(1)} ms`)
  })
  const grows = (['rss', 'heap'] as const).some(figure => of(late, figure) > growthMax * of(early, figure)) ||
    of(late, 'handles') > of(early, 'handles') + handlesMax ||
    // Short latencies are noisy, so they are compared with a minimum.
    of(late, 'p99') > Math.max(p99MsMin, latencyGrowthMax * of(early, 'p99'))
  if (failures > 0 || grows) process.exitCode = 1
} finally {
  await stop()
  await redis.stop()
}
