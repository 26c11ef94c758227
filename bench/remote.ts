import type { Rule } from './budgets.ts'
import { type Durations, measureLatency, type Sample } from './measure.ts'
import { reach } from './reach.ts'
import { createRequests, submission, type Place } from './requests.ts'
import type { ScenarioResult, SuiteResult } from './result.ts'
import { type Scenario, scenarios } from './scenarios.ts'
import { confirm, type Progress, toSuiteResult } from './suite.ts'
import { findFlaws, summarize } from './summary.ts'

/*
 * Runs the latency scenarios on a deployed service. Only its responses are known, so only the absolute ceilings, or
 * the bounds of the command line, can fail the run.
 */

export const remoteScenarios: readonly Scenario[] = scenarios.filter(({ isRemote }) => isRemote)

export const remoteDurations: Durations = { rounds: 3, warmUpSeconds: 1, capacitySeconds: 0, latencySeconds: 3 }

export type RemoteOptions = {
  url: string
  token: string
  /** Jobs to poll; they must not change during the run. If empty, a job is submitted, and cancelled afterwards. */
  jobIds: readonly string[]
  scenarios: readonly Scenario[]
  /** Requests per second; default: the rate of the scenario. */
  rate: number | undefined
  /** Rules for every scenario. */
  limits: readonly Rule[]
  durations: Durations
  progress: Progress
}

const runScenario = async (
  place: Place, scenario: Scenario, { rate, durations, progress }: RemoteOptions
): Promise<ScenarioResult> => {
  const [target] = scenario.targets
  if (target === undefined) throw new Error(`${scenario.name} has no target`)
  const destination = { url: place.url, expectedStatus: target.expectedStatus, rate: rate ?? target.rate }
  progress.step(`${scenario.name}: warm-up`)
  const nextRequest = await createRequests(place)(target.requests)
  await measureLatency(destination, nextRequest, durations.warmUpSeconds)
  const samples: Sample[] = []
  for (let round = 0; round < durations.rounds; round++) {
    progress.step(`${scenario.name}: round ${round + 1} of ${durations.rounds}`)
    samples.push(await measureLatency(destination, nextRequest, durations.latencySeconds))
  }
  const measurement = summarize('service', samples, 'median')
  return {
    name: scenario.name,
    title: scenario.title,
    measurements: measurement === null ? [] : [measurement],
    invalid: findFlaws('service', samples),
    confirmed: false
  }
}

const jobPath = (jobId: string): string => `/api/v1/jobs/${encodeURIComponent(jobId)}`

const submitOne = async (options: RemoteOptions): Promise<string> => {
  const answer = await reach(options, '/api/v1/jobs', { method: 'POST', body: submission })
  return (await answer.json() as { jobId: string }).jobId
}

/** Runs the scenarios on the service at `url`. Throws with a reason if it cannot be reached or shows no job. */
export const runRemote = async (options: RemoteOptions): Promise<SuiteResult> => {
  const startedAt = new Date()
  const own = options.jobIds.length === 0 ? await submitOne(options) : undefined
  const polled = own === undefined ? options.jobIds : [own]
  const place: Place = { url: options.url, token: options.token, polled, rows: 0 }
  try {
    for (const jobId of polled) await (await reach(options, jobPath(jobId))).arrayBuffer()
    const judged = []
    for (const scenario of options.scenarios) {
      judged.push(await confirm(() => runScenario(place, scenario, options), 'remote', options.progress, options.limits))
    }
    return await toSuiteResult(judged, 'remote', startedAt)
  } finally {
    if (own !== undefined) {
      // What is reported is how the run ended.
      await reach(options, `${jobPath(own)}/cancel`, { method: 'POST' }).catch(() => {})
    }
  }
}
