import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import { type SuiteResult } from '../result.ts'
import { groupOthers, type Figures } from './figures.ts'

/** A latency by percentile; null from where there were too few answers to tell. Microseconds. */
type Curve = { name: string, isService: boolean, us: (number | null)[] }

/** What the script of the page draws. `decades` is the x axis: 0 is the 0th percentile, 1 the 90th, 2 the 99th. */
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
  // 0 has no place on a logarithmic axis.
  return decades.map(decade => decade > deepest ? null : Math.max(1, histogram.getValueAtPercentile(100 - 10 ** (2 - decade))))
}

// A budget of all scenarios is one line in the chart; where they differ, the strictest.
const findLimit = ({ verdicts }: SuiteResult): CurveData['limit'] => {
  const budgets = verdicts.filter(({ rule, direction, unit }) => /^p95\b(?!.*ratio)/i.test(rule) && direction === 'max' && unit === 'ms')
  if (budgets.length === 0) return null
  const ms = Math.min(...budgets.map(({ bound }) => bound))
  return { decade: Math.log10(20), us: ms * 1000, label: `budget: P95 ${ms} ms` }
}

/** The latency curves of all targets: the service by scenario, the others in the first scenario they ran in. */
export const toCurveData = (result: SuiteResult, figures: Figures[]): CurveData => {
  const measured = figures.filter(({ histogram }) => histogram !== '')
  return {
    decades,
    curves: [
      ...measured.filter(({ isService }) => isService).map(({ title, histogram }) => ({ name: title, isService: true, us: toPoints(histogram) })),
      ...groupOthers(measured).flatMap(({ name, each: [first] }) => first ? [{ name, isService: false, us: toPoints(first.histogram) }] : [])
    ],
    limit: findLimit(result)
  }
}
