import { setTimeout as delay } from 'node:timers/promises'
import { startLoad } from '../load.ts'
import { toRequest } from '../requests.ts'
import { createHistogram, recordMs } from '../statistics.ts'
import { authorization, printTable, startService, toMiB } from './service.ts'

/*
 * More than the service can do: what it still answers, how soon, what it refuses, and whether its memory comes back.
 *
 * For each kind of request first its capacity (a closed loop), then four times that at a fixed rate. Of polls no generator
 * on the same machine can send so many; they come from 10,000 connections instead, each as often as it is answered.
 */

const manyConnections = 10_000
// Each has to send its first request before the service takes it for one that never will.
const manyRate = 3000
const capacityConnections = 50
const pressedConnections = 1000
const pressure = 4
const seconds = 10
const rampSeconds = 3
const acceptedStatuses = [200, 202]

const { url, rssBytes, metric, stop } = await startService({ LOG_LEVEL: 'info' })

const json = { authorization, 'content-type': 'application/json' }
const submission = '{"type":"bench","input":null}'

const submitted: string[] = []
for (let i = 0; i < 200; i++) {
  const answer = await fetch(`${url}/api/v1/jobs`, { method: 'POST', headers: json, body: submission })
  submitted.push((await answer.json() as { jobId: string }).jobId)
}

const get = (path: string): Buffer => toRequest('GET', url, path, { authorization })
const requests = {
  polls: get(`/api/v1/jobs/${submitted[0]}`),
  'reads of 100 jobs': get(`/api/v1/jobs?ids=${submitted.slice(0, 100).join(',')}`),
  lists: get('/api/v1/jobs?limit=200'),
  submissions: toRequest('POST', url, '/api/v1/jobs', { ...json, 'content-length': String(submission.length) }, submission)
}

type Outcome = { accepted: number, refused: number, other: number, acceptedMs: ReturnType<typeof createHistogram>, refusedMs: ReturnType<typeof createHistogram>, lost: number }

const press = async (request: Buffer, connections: number, rate: number | null): Promise<Outcome> => {
  const outcome: Outcome = { accepted: 0, refused: 0, other: 0, acceptedMs: createHistogram(), refusedMs: createHistogram(), lost: 0 }
  let isCounting = false
  const load = startLoad({
    url,
    connections,
    rate,
    nextRequest: () => request,
    expectedStatus: 200,
    onAnswer: (status, ms) => {
      if (!isCounting) return
      if (acceptedStatuses.includes(status)) {
        outcome.accepted++
        recordMs(outcome.acceptedMs, ms)
      } else if (status === 503) {
        outcome.refused++
        recordMs(outcome.refusedMs, ms)
      } else {
        outcome.other++
      }
    }
  })
  await delay(rampSeconds * 1000)
  isCounting = true
  await delay(seconds * 1000)
  isCounting = false
  await load.stop()
  outcome.lost = load.failures().errors
  return outcome
}

const ms = (histogram: Outcome['acceptedMs'], percentile: number): string =>
  histogram.totalCount === 0 ? '-' : `${(histogram.getValueAtPercentile(percentile) / 1000).toFixed(1)} ms`

const tell = (what: string, { accepted, refused, other, lost, acceptedMs, refusedMs }: Outcome): void => {
  printTable({
    [`${what}, accepted per second`]: (accepted / seconds).toFixed(0),
    [`${what}, refused per second`]: (refused / seconds).toFixed(0),
    [`${what}, otherwise answered, not answered`]: `${other}, ${lost}`,
    [`${what}, accepted p50, p99`]: `${ms(acceptedMs, 50)}, ${ms(acceptedMs, 99)}`,
    [`${what}, refused p50, p99`]: `${ms(refusedMs, 50)}, ${ms(refusedMs, 99)}`
  })
}

try {
  await press(requests.polls, capacityConnections, null)
  const before = rssBytes()
  tell(`polls at ${manyRate}/s over ${manyConnections} connections`, await press(requests.polls, manyConnections, manyRate))
  tell(`polls in a closed loop over ${manyConnections} connections`, await press(requests.polls, manyConnections, null))
  const pressed = rssBytes()
  for (const [what, request] of Object.entries(requests).slice(1)) {
    const capacity = (await press(request, capacityConnections, null)).accepted / seconds
    printTable({ [`${what}, capacity per second`]: capacity.toFixed(0) })
    tell(`${what} at ${pressure} times that`, await press(request, pressedConnections, pressure * capacity))
  }
  await press(requests.polls, capacityConnections, null)
  printTable({
    'memory before, with 10,000 connections, afterwards': `${toMiB(before)}, ${toMiB(pressed)}, ${toMiB(rssBytes())}`,
    'refused in all': await metric('http_requests_refused_total', '{queue="requests"}') + await metric('http_requests_refused_total', '{queue="writes"}')
  })
} finally {
  await stop()
}
