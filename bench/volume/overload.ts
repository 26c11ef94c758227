import { setTimeout as delay } from 'node:timers/promises'
import { startLoad } from '../load.ts'
import { toRequest } from '../requests.ts'
import type { Answers } from './prober.ts'
import { startProber } from './probing.ts'
import { authorization, printTable, startService, toMiB } from './service.ts'

/*
 * More load than the service can serve. Measures how many requests it still accepts, how fast, how many it rejects,
 * and whether its memory use goes back to the level before.
 *
 * For each kind of request the capacity is measured first (closed loop), then four times that rate is sent. A
 * generator on the same machine cannot send that many polls; those come from 10,000 connections in a closed loop
 * instead. Latencies are those of a second, small load.
 */

const manyConnections = 10_000
// Each connection must send its first request before the service closes it because of its time-out.
const manyRate = 3000
const capacityConnections = 50
const pressedConnections = 300
const pressure = 4
const seconds = 10
// The service accepts one connection per iteration of its event loop, so thousands of them take some seconds.
const rampSeconds = 10
const restSeconds = 20
const acceptedStatuses = [200, 202, 204]
// Bound for the cases in which the service is overloaded, and not a generator that uses all cores.
const acceptedP99MsMax = 250

const { url, rssBytes, metric, stop } = await startService({ LOG_LEVEL: 'info' })

const memory = async (): Promise<string> =>
  `${toMiB(rssBytes())} (heap in use ${toMiB(await metric('nodejs_heap_size_used_bytes'))})`

const json = { authorization, 'content-type': 'application/json' }
const submission = '{"type":"bench","input":null}'
const claim = '{"types":["nothing"]}'

const submitted: string[] = []
for (let i = 0; i < 200; i++) {
  const answer = await fetch(`${url}/api/v1/jobs`, { method: 'POST', headers: json, body: submission })
  submitted.push((await answer.json() as { jobId: string }).jobId)
}

const get = (path: string): Buffer => toRequest('GET', url, path, { authorization })
const post = (path: string, body: string): Buffer =>
  toRequest('POST', url, path, { ...json, 'content-length': String(body.length) }, body)
const requests = {
  polls: get(`/api/v1/jobs/${submitted[0]}`),
  'reads of 100 jobs': get(`/api/v1/jobs?ids=${submitted.slice(0, 100).join(',')}`),
  lists: get('/api/v1/jobs?limit=200'),
  submissions: post('/api/v1/jobs', submission),
  'claims without a job': post('/api/v1/worker/claim', claim)
}

type Outcome = { accepted: number, rejected: number, other: number, lost: number, answers: Answers }

// Many connections, so that no request waits for the previous response.
const probing = { connections: 100, rate: 50 }

const press = async (request: Buffer, connections: number, rate: number | null): Promise<Outcome> => {
  const outcome: Outcome = { accepted: 0, rejected: 0, other: 0, lost: 0, answers: [] }
  let isCounting = false
  const prober = await startProber({ url, request, ...probing })
  const load = startLoad({
    url,
    connections,
    rate,
    nextRequest: () => request,
    expectedStatus: 200,
    onAnswer: status => {
      if (!isCounting) return
      if (acceptedStatuses.includes(status)) outcome.accepted++
      else if (status === 503) outcome.rejected++
      else outcome.other++
    }
  })
  await delay(rampSeconds * 1000)
  isCounting = true
  prober.begin()
  await delay(seconds * 1000)
  isCounting = false
  outcome.answers = await prober.end()
  await load.stop()
  outcome.lost = load.failures().errors
  return outcome
}

const timesOf = (answers: Answers, isIncluded: (status: number) => boolean): number[] =>
  answers.filter(([status]) => isIncluded(status)).map(([, ms]) => ms).sort((a, b) => a - b)

const percentile = (times: readonly number[], share: number): number => times[Math.ceil(share * times.length) - 1] ?? 0

const toText = (times: readonly number[]): string => times.length === 0
  ? '-'
  : `${percentile(times, 0.5).toFixed(1)} ms, ${percentile(times, 0.99).toFixed(1)} ms of ${times.length}`

const report = (what: string, outcome: Outcome, { isJudged = true } = {}): void => {
  const { accepted, rejected, other, lost, answers } = outcome
  const acceptedTimes = timesOf(answers, status => acceptedStatuses.includes(status))
  const isSlow = percentile(acceptedTimes, 0.99) > acceptedP99MsMax
  // With long event-loop iterations, the service cannot accept thousands of connections in time.
  if (other > 0 || acceptedTimes.length === 0 || (isJudged && (isSlow || lost > 0))) process.exitCode = 1
  printTable({
    [`${what}, accepted and rejected per second`]:
      `${(accepted / seconds).toFixed(0)}, ${(rejected / seconds).toFixed(0)}`,
    [`${what}, other responses, no response`]: `${other}, ${lost}`,
    [`${what}, accepted p50, p99`]: toText(acceptedTimes),
    [`${what}, rejected p50, p99`]: toText(timesOf(answers, status => status === 503))
  })
}

try {
  await press(requests.polls, capacityConnections, null)
  const before = await memory()
  const paced = await press(requests.polls, manyConnections, manyRate)
  report(`polls at ${manyRate}/s over ${manyConnections} connections`, paced)
  const unpaced = await press(requests.polls, manyConnections, null)
  report(`polls in a closed loop over ${manyConnections} connections`, unpaced, { isJudged: false })
  const pressed = await memory()
  await delay(restSeconds * 1000)
  const rested = await memory()
  for (const [what, request] of Object.entries(requests).slice(1)) {
    const capacity = (await press(request, capacityConnections, null)).accepted / seconds
    printTable({ [`${what}, capacity per second`]: capacity.toFixed(0) })
    report(`${what} at ${pressure} times that rate`, await press(request, pressedConnections, pressure * capacity))
  }
  await press(requests.polls, capacityConnections, null)
  const countRejected = (queue: string) => metric('http_requests_refused_total', `{queue="${queue}"}`)
  printTable({
    'memory before, after 10,000 connections, after a pause, at the end':
      [before, pressed, rested, await memory()].join('; '),
    'rejected in total': await countRejected('requests') + await countRejected('writes')
  })
} finally {
  await stop()
}
