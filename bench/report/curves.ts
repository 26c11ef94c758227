import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import type { SuiteResult } from '../result.ts'
import { groupOthers, type Figures } from './figures.ts'

/** Latencies by percentile, in microseconds; null above the highest percentile that the number of responses allows. */
type Curve = { name: string, isService: boolean, us: (number | null)[] }

/** Input of the page's script. `decades` is the x axis: 0 is the 0th percentile, 1 the 90th, 2 the 99th. */
export type CurveData = {
  decades: number[]
  curves: Curve[]
  limit: { decade: number, us: number, label: string } | null
}

const pointsPerDecade = 20
const decadesShown = 4
const decades = Array.from({ length: decadesShown * pointsPerDecade + 1 }, (_, at) => at / pointsPerDecade)

const toPoints = (base64: string) => {
  const histogram = decodeFromCompressedBase64(base64)
  const deepest = Math.log10(histogram.totalCount)
  // A logarithmic axis cannot show 0.
  return decades.map(decade =>
    decade > deepest ? null : Math.max(1, histogram.getValueAtPercentile(100 - 10 ** (2 - decade))))
}

// The chart shows one line for the P95 budget of all scenarios: the strictest one if they differ.
const findLimit = ({ verdicts }: SuiteResult): CurveData['limit'] => {
  const budgets = verdicts.filter(({ rule, direction, unit }) =>
    /^p95\b(?!.*ratio)/i.test(rule) && direction === 'max' && unit === 'ms')
  if (budgets.length === 0) return null
  const ms = Math.min(...budgets.map(({ bound }) => bound))
  return { decade: Math.log10(20), us: ms * 1000, label: `budget: P95 ${ms} ms` }
}

/** The latency curves: one of the service for each scenario, one of each other target from its first scenario. */
export const toCurveData = (result: SuiteResult, figures: Figures[]): CurveData => {
  const measured = figures.filter(({ histogram }) => histogram !== '')
  return {
    decades,
    curves: [
      ...measured.filter(({ isService }) => isService)
        .map(({ title, histogram }) => ({ name: title, isService: true, us: toPoints(histogram) })),
      ...groupOthers(measured).flatMap(({ name, each: [first] }) =>
        first ? [{ name, isService: false, us: toPoints(first.histogram) }] : [])
    ],
    limit: findLimit(result)
  }
}
