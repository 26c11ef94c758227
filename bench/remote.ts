import { type Durations, measureLatency, type Sample } from './measure.ts'
import { createRequests, submitJob, type Place } from './requests.ts'
import type { ScenarioResult, SuiteResult } from './result.ts'
import { type Scenario, scenarios } from './scenarios.ts'
import { confirm, type Progress, toSuiteResult } from './suite.ts'
import { findFlaws, summarize } from './summary.ts'

/*
 * The latency scenarios against a service that runs elsewhere: nothing of it is known but its answers, so only the
 * absolute ceilings gate.
 */

export const remoteScenarios: readonly Scenario[] = scenarios.filter(({ isRemote }) => isRemote)

export const remoteDurations: Durations = { rounds: 3, warmUpSeconds: 1, capacitySeconds: 0, latencySeconds: 3 }

export type RemoteOptions = {
  url: string
  token: string
  /** Jobs to poll, which must not change meanwhile; without any, one is submitted and cancelled afterwards. */
  jobIds: readonly string[]
  scenarios: readonly Scenario[]
  /** Requests a second; undefined: what is promised. */
  rate: number | undefined
  durations: Durations
  progress: Progress
}

const runScenario = async (place: Place, scenario: Scenario, { rate, durations, progress }: RemoteOptions): Promise<ScenarioResult> => {
  const [target] = scenario.targets
  if (target === undefined) throw new Error(`${scenario.name} has no target`)
  const aim = { url: place.url, expectedStatus: target.expectedStatus, rate: rate ?? target.rate }
  progress.step(`${scenario.name}: warm-up`)
  const nextRequest = await createRequests(place)(target.requests)
  await measureLatency(aim, nextRequest, durations.warmUpSeconds)
  const samples: Sample[] = []
  for (let round = 0; round < durations.rounds; round++) {
    progress.step(`${scenario.name}: round ${round + 1} of ${durations.rounds}`)
    samples.push(await measureLatency(aim, nextRequest, durations.latencySeconds))
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

const submitOne = async ({ url, token }: RemoteOptions): Promise<string> => {
  try {
    return await submitJob({ url, token })
  } catch (error) {
    throw new Error('no job to poll could be submitted; name one with --job', { cause: error })
  }
}

/** Runs the scenarios on the service at `url`. Throws where it cannot be reached, or no job can be submitted there. */
export const runRemote = async (options: RemoteOptions): Promise<SuiteResult> => {
  const startedAt = new Date()
  const own = options.jobIds.length === 0 ? await submitOne(options) : undefined
  const place: Place = { url: options.url, token: options.token, polled: own === undefined ? options.jobIds : [own], rows: 0 }
  try {
    const judged = []
    for (const scenario of options.scenarios) {
      judged.push(await confirm(() => runScenario(place, scenario, options), 'remote', options.progress))
    }
    return await toSuiteResult(judged, 'remote', startedAt)
  } finally {
    if (own !== undefined) {
      await fetch(`${options.url}/api/v1/jobs/${own}/cancel`, { method: 'POST', headers: { authorization: `Bearer ${options.token}` } })
    }
  }
}
