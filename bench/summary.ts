import type { Sample } from './measure.ts'
import type { Measurement } from './result.ts'
import { encodeTogether, median } from './statistics.ts'

/**
 * What stands for all rounds: their median, or the best of each figure. Noise only ever adds to a time or a cost, so the
 * best of few short rounds tells more of the service than their middle; a regression is in all of them.
 */
export type Choice = 'median' | 'best'

// Below this share of a core it was not the server that was the limit, but the generator or the machine.
const saturatedMin = 0.9

const lowest = (numbers: readonly number[]): number => Math.min(...numbers)
const highest = (numbers: readonly number[]): number => Math.max(...numbers)

type Pick = (numbers: readonly number[]) => number

/** Of those that are numbers; null where none is. */
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

/** What a target did in one mode, of the rounds that count. Null where none does. */
export const summarize = (target: string, samples: readonly Sample[], choice: Choice): Measurement | null => {
  const rounds = samples.filter(({ dropped }) => dropped.length === 0)
  const [first] = rounds
  if (first === undefined) return null
  const [low, high] = choice === 'median' ? [median, median] : [lowest, highest]
  const percentile = (percent: number) => low(rounds.map(({ counts }) => counts.histogram.getValueAtPercentile(percent)))
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
    // Of all rounds: an error is never left out.
    errors: sum(samples.map(({ counts }) => counts.errors + counts.unexpected)),
    statusCodes: addUp(samples),
    storeReadsPer1000: known(rounds.map(sample => sample.storeReadsPer1000), low),
    redisCommandsPerRequest: known(rounds.map(sample => sample.redisCommandsPerRequest), low),
    besidePerSecond: known(rounds.map(sample => sample.besidePerSecond), high)
  }
}

/** Why these rounds say nothing, one a line: something was wrong in any of them, or too few of them count. */
export const findFlaws = (target: string, samples: readonly Sample[]): string[] => {
  const dropped = samples.filter(({ dropped }) => dropped.length > 0)
  const reasons = new Set(dropped.flatMap(({ dropped }) => dropped))
  const tooMany = dropped.length * 2 > samples.length
  return [
    ...new Set(samples.flatMap(({ invalid }) => invalid)),
    ...(tooMany ? [`${target}, ${samples[0]?.mode}: ${dropped.length} of ${samples.length} rounds do not count: ${[...reasons].join('; ')}`] : [])
  ]
}
