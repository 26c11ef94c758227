import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { readAnswer } from './answer.ts'
import type { Rule } from './budgets.ts'
import { findCommit, findVersions, toMachine } from './environment.ts'
import { findExcuses, judge, toOutcome } from './judge.ts'
import { type Durations, measure, type Sample } from './measure.ts'
import { type BenchPostgres, findFastFolder, startBenchPostgres } from './postgres.ts'
import { type LoadMode, type ScenarioResult, type SuiteResult, type Verdict, resultSchema } from './result.ts'
import type { Scenario, Target } from './scenarios.ts'
import { type Choice, findFlaws, summarize } from './summary.ts'
import {
  prepareDatasets, type RunningTarget, type StartNeeds, startTarget, TargetUnavailable, type TargetNeeds
} from './targets.ts'

/*
 * Runs scenarios one after the other: starts the servers of a scenario, loads them in turns for some rounds and judges
 * the measurements. A scenario that is invalid or breaks a budget is run again, because a short load of other processes
 * has the same effect as a breach.
 */

export type Progress = {
  step: (label: string) => void
  note: (line: string) => void
}

export type SuiteOptions = {
  scenarios: readonly Scenario[]
  mode: 'full' | 'quick'
  durations: Durations
  /** Node arguments of the service: `--cpu-prof`, `--import=…`. */
  serviceArgs: readonly string[]
  progress: Progress
}

/** Durations for figures that can be published. */
export const fullDurations: Durations = { rounds: 5, warmUpSeconds: 1.5, capacitySeconds: 1.25, latencySeconds: 1.25 }
/** Durations with which all scenarios of the quick run take less than a minute. */
export const quickDurations: Durations = { rounds: 2, warmUpSeconds: 0.5, capacitySeconds: 0.5, latencySeconds: 0.6 }

type Measured = { running: RunningTarget, nextRequest: () => Buffer, samples: Map<LoadMode, Sample[]> }

// Peers that the budgets need. The other peers are measured only if they are available.
const required = ['bullmq', 'express']

type Started = { measured: Measured[], absent: string[], invalid: string[] }

const startOne = async (target: Target, needs: StartNeeds): Promise<Measured> => {
  const running = await startTarget(target, needs)
  try {
    return { running, nextRequest: await running.createRequest(target.requests), samples: new Map() }
  } catch (error) {
    await running.stop()
    throw error
  }
}

const startAll = async (targets: readonly Target[], needs: TargetNeeds): Promise<Started> => {
  const service = Promise.withResolvers<Measured>()
  const answer = async () => {
    const { running, nextRequest } = await service.promise
    return await readAnswer(running.server.url, nextRequest())
  }
  const attempts = await Promise.allSettled(targets.map(async target => {
    const starting = startOne(target, { ...needs, answer })
    if (target.name === 'service') starting.then(service.resolve, service.reject)
    return await starting
  }))
  const started: Started = { measured: [], absent: [], invalid: [] }
  const failures: unknown[] = []
  for (const [index, attempt] of attempts.entries()) {
    if (attempt.status === 'fulfilled') {
      started.measured.push(attempt.value)
      continue
    }
    const reason: unknown = attempt.reason
    const name = targets[index]?.server ?? ''
    if (!(reason instanceof TargetUnavailable)) failures.push(reason)
    else if (required.includes(name)) started.invalid.push(`${name} is not available: ${reason.message}`)
    else started.absent.push(`${name}: ${reason.message}`)
  }
  if (failures.length === 0) return started
  await stopAll(started.measured)
  throw failures[0]
}

const stopAll = async (measured: readonly Measured[]): Promise<void> => {
  await Promise.all(measured.map(({ running }) => running.stop()))
}

const secondsOf = ({ capacitySeconds, latencySeconds }: Durations, mode: LoadMode): number =>
  mode === 'capacity' ? capacitySeconds : latencySeconds

const measureTarget = async ({ running, nextRequest, samples }: Measured, durations: Durations): Promise<void> => {
  for (const mode of running.target.modes) {
    const sample = await measure(running, mode, nextRequest, secondsOf(durations, mode))
    samples.set(mode, [...samples.get(mode) ?? [], sample])
  }
}

const warmUp = async ({ running, nextRequest }: Measured, { warmUpSeconds }: Durations): Promise<void> => {
  const { fault: _, ...target } = running.target
  const [mode = 'latency'] = target.modes
  // Each job is read once, so that its database pages are in memory.
  const roundSeconds = mode === 'latency' && target.requests.kind === 'each' ? target.requests.jobs / target.rate : 0
  await measure({ ...running, target }, mode, nextRequest, Math.max(warmUpSeconds, roundSeconds))
}

type Summary = Pick<ScenarioResult, 'measurements' | 'invalid'>

const summarizeAll = (measured: readonly Measured[], choice: Choice): Summary => {
  const all = measured.flatMap(({ running, samples }) =>
    [...samples.values()].map(samples => ({ target: running.target.name, samples })))
  return {
    measurements: all.map(({ target, samples }) => summarize(target, samples, choice))
      .filter(measurement => measurement !== null),
    invalid: all.flatMap(({ target, samples }) => findFlaws(target, samples))
  }
}

/** What the scenarios of a run share. */
type Shared = Pick<TargetNeeds, 'directory' | 'postgres'>

const runScenario = async (
  scenario: Scenario, { mode, durations, progress, serviceArgs }: SuiteOptions, shared: Shared
): Promise<ScenarioResult> => {
  progress.step(`${scenario.name}: start and warm-up`)
  const needs = { ...shared, serviceArgs, note: progress.note }
  await prepareDatasets(scenario.targets, needs)
  const { measured, absent, invalid } = await startAll(scenario.targets, needs)
  try {
    for (const each of measured) await warmUp(each, durations)
    for (let round = 0; round < durations.rounds; round++) {
      progress.step(`${scenario.name}: round ${round + 1} of ${durations.rounds}`)
      // The order alternates (A B, B A, A B), so that a drift of the machine affects all targets equally.
      for (const each of round % 2 === 0 ? measured : measured.toReversed()) await measureTarget(each, durations)
    }
  } finally {
    await stopAll(measured)
  }
  const summary = summarizeAll(measured, mode === 'quick' ? 'best' : 'median')
  return {
    name: scenario.name,
    title: scenario.title,
    confirmed: false,
    absent,
    ...summary,
    invalid: [...invalid, ...summary.invalid]
  }
}

type Judged = { result: ScenarioResult, verdicts: Verdict[] }

const describeFlaw = ({ result, verdicts }: Judged): string =>
  result.invalid[0] ?? verdicts.filter(({ outcome }) => outcome === 'broken')
    .map(({ rule, actual, bound }) => `${rule}: ${actual?.toFixed(2)} (budget ${bound})`).join('; ')

/** Runs and judges one scenario, and does so again if the outcome is not `passed`. The second outcome counts. */
export const confirm = async (
  run: () => Promise<ScenarioResult>, mode: SuiteResult['mode'], progress: Progress, limits?: readonly Rule[]
): Promise<Judged> => {
  const once = async (): Promise<Judged> => {
    const result = await run()
    const verdicts = judge(result, mode, limits)
    const excuses = findExcuses(result, verdicts)
    if (mode !== 'quick' || excuses.length === 0) {
      return { result: { ...result, invalid: [...result.invalid, ...excuses] }, verdicts }
    }
    // Quick runs happen on machines with other work. Counts and CPU remain meaningful there, so the run stays valid.
    for (const excuse of excuses) progress.note(`${result.name}: does not count: ${excuse}`)
    return {
      result,
      verdicts: verdicts.map(verdict => verdict.outcome === 'broken' ? { ...verdict, outcome: 'reported' } : verdict)
    }
  }
  const first = await once()
  const outcome = toOutcome([first.result], first.verdicts)
  if (outcome === 'passed') return first
  progress.note(`${first.result.name}: ${outcome}, run again: ${describeFlaw(first)}`)
  const second = await once()
  return { ...second, result: { ...second.result, confirmed: outcome === 'breach' } }
}

/** Number of steps that `runSuite` reports if no scenario is run again. */
export const countSteps = ({ scenarios, durations }: Pick<SuiteOptions, 'scenarios' | 'durations'>): number =>
  scenarios.length * (durations.rounds + 1)

/** Builds the result of a run from its scenarios, with the machine, the versions and the time. */
export const toSuiteResult = async (
  judged: readonly Judged[], mode: SuiteResult['mode'], startedAt: Date
): Promise<SuiteResult> => {
  const scenarios = judged.map(({ result }) => result)
  const verdicts = judged.flatMap(({ verdicts }) => verdicts)
  return {
    schema: resultSchema,
    startedAt: startedAt.toISOString(),
    seconds: (Date.now() - startedAt.getTime()) / 1000,
    mode,
    commit: await findCommit(),
    machine: toMachine(),
    versions: await findVersions(),
    scenarios,
    verdicts,
    outcome: toOutcome(scenarios, verdicts)
  }
}

// Databases are in memory where there is room: the service waits for the disk at every commit, and on many machines
// that takes ten times as long as the rest of a write.
const bytesFreeMin = 512 * 1024 * 1024

/** Runs the scenarios on servers that it starts. Throws if the service or a control does not start. */
export const runSuite = async (options: SuiteOptions): Promise<SuiteResult> => {
  const startedAt = new Date()
  const directory = mkdtempSync(join(findFastFolder(bytesFreeMin), 'bench-'))
  const remove = () => { rmSync(directory, { recursive: true, force: true }) }
  process.once('exit', remove)
  let starting: Promise<BenchPostgres> | undefined
  const postgres = () => {
    starting ??= startBenchPostgres()
    return starting
  }
  try {
    const judged: Judged[] = []
    for (const scenario of options.scenarios) {
      judged.push(await confirm(
        () => runScenario(scenario, options, { directory, postgres }), options.mode, options.progress))
    }
    return await toSuiteResult(judged, options.mode, startedAt)
  } finally {
    await (await starting)?.stop()
    process.off('exit', remove)
    remove()
  }
}
