import { waitedMax } from '../../judge.ts'
import type { Usage } from '../service.ts'

/*
 * The figures of a program, printed as a table with their bounds (budgets.ts).
 */

/**
 * `max`: a bound; one that is exceeded makes the program exit with 1. `isTime`: the bound says nothing where the
 * servers had to wait for a core too often.
 */
export type Figure = { what: string, value: number, digits?: number, max?: number, isTime?: boolean }

// A figure that was not measured keeps no bound.
const isKept = ({ value, max }: Figure): boolean => max === undefined || value <= max

const toText = (figure: Figure): string => {
  const { value, digits = 0, max } = figure
  return value.toFixed(digits) + (max === undefined ? '' : ` (${isKept(figure) ? 'within' : 'exceeds'} ${max})`)
}

/** Prints the figures, one a line, and sets the exit code. `waited`: share of the time that the servers had no core. */
export const printFigures = (title: string, figures: readonly Figure[], waited = 0): void => {
  const isBusy = waited > waitedMax
  const width = Math.max(...figures.map(({ what }) => what.length))
  const lines = figures.map(figure => `${figure.what.padEnd(width)}   ${toText(figure)}`)
  const excuse = `times do not count: the service waited for a core for ${(waited * 100).toFixed(0)} % of the time\n`
  process.stdout.write(`${title}\n${lines.join('\n')}\n${isBusy ? excuse : ''}\n`)
  if (!figures.filter(({ isTime = false }) => !isTime || !isBusy).every(isKept)) process.exitCode = 1
}

/** The value below which this share of them lies; NaN of none. */
export const quantile = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/** What a process used between two readings: cores, and the share of the time that it had to wait for one. */
export const toShares = (before: Usage, after: Usage): { cores: number, waited: number } => {
  const ms = after.atMs - before.atMs
  return {
    cores: (after.cpuSeconds - before.cpuSeconds) * 1000 / ms,
    waited: (after.waitedSeconds - before.waitedSeconds) * 1000 / ms
  }
}
