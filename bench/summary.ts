import type { Sample } from './measure.ts'
import type { Measurement } from './result.ts'
import { encodeTogether, median } from './statistics.ts'

/**
 * How the rounds are combined: the median or the best value of each figure. Noise only adds to a time or a cost, so
 * with few short rounds the best value describes the service better than the median. A regression shows in all
 * rounds.
 */
export type Choice = 'median' | 'best'

// If the server used less of a core, the limit was the generator or the machine.
const saturatedMin = 0.9

const lowest = (numbers: readonly number[]): number => Math.min(...numbers)
const highest = (numbers: readonly number[]): number => Math.max(...numbers)

type Pick = (numbers: readonly number[]) => number

/** Picks from the values that are numbers; null if there are none. */
const known = (numbers: ReadonlyArray<number | null>, pick: Pick): number | null => {
  const there = numbers.filter(number => number !== null)
  return there.length === 0 ? null : pick(there)
}

const addUp = (rounds: readonly Sample[]): Record<string, number> => {
  const sums: Record<string, number> = {}
  for (const { counts } of rounds) {
    for (const [status, count] of Object.entries(counts.statusCodes)) sums[status] = (sums[status] ?? 0) + count
  }
  return sums
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, number) => all + number, 0)

/** Combines the rounds of a target in one mode, without the dropped ones. Null if all were dropped. */
export const summarize = (target: string, samples: readonly Sample[], choice: Choice): Measurement | null => {
  const rounds = samples.filter(({ dropped }) => dropped.length === 0)
  const [first] = rounds
  if (first === undefined) return null
  const [low, high] = choice === 'median' ? [median, median] : [lowest, highest]
  const percentile = (percent: number) =>
    low(rounds.map(({ counts }) => counts.histogram.getValueAtPercentile(percent)))
  const serverUtilization = known(rounds.map(sample => sample.serverUtilization), high)
  return {
    target,
    mode: first.mode,
    rounds: rounds.length,
    requests: sum(rounds.map(({ counts }) => counts.answered)),
    requestsPerSecond: high(rounds.map(({ counts }) => counts.answered / counts.seconds)),
    isLowerBound: first.mode === 'capacity' && (serverUtilization ?? 0) < saturatedMin,
    p50: percentile(50),
    p95: percentile(95),
    p99: percentile(99),
    p999: percentile(99.9),
    max: low(rounds.map(({ counts }) => counts.histogram.maxValue)),
    histogram: encodeTogether(rounds.map(({ counts }) => counts.histogram)),
    serverCpuPerRequest: known(rounds.map(({ cpuPerRequest }) => cpuPerRequest), low),
    serverUtilization,
    serverWaited: known(rounds.map(sample => sample.serverWaited), low),
    generatorUtilization: low(rounds.map(({ counts }) => counts.generatorUtilization)),
    // Errors of dropped rounds count too.
    errors: sum(samples.map(({ counts }) => counts.errors + counts.unexpected)),
    statusCodes: addUp(samples),
    storeReadsPer1000: known(rounds.map(sample => sample.storeReadsPer1000), low),
    redisCommandsPerRequest: known(rounds.map(sample => sample.redisCommandsPerRequest), low),
    redisCpuPerRequest: known(rounds.map(sample => sample.redisCpuPerRequest), low),
    redisBytesPerRequest: known(rounds.map(sample => sample.redisBytesPerRequest), low),
    besidePerSecond: known(rounds.map(sample => sample.besidePerSecond), high)
  }
}

/** Reasons why these rounds are invalid, one per line: a flaw in any of them, or more than half of them dropped. */
export const findFlaws = (target: string, samples: readonly Sample[]): string[] => {
  const dropped = samples.filter(({ dropped }) => dropped.length > 0)
  const reasons = new Set(dropped.flatMap(({ dropped }) => dropped))
  const tooMany = dropped.length * 2 > samples.length
  const counts = `${dropped.length} of ${samples.length}`
  return [
    ...new Set(samples.flatMap(({ invalid }) => invalid)),
    ...(tooMany ? [`${target}, ${samples[0]?.mode}: ${counts} rounds do not count: ${[...reasons].join('; ')}`] : [])
  ]
}
