import { Exit, exitCodes } from './exit.ts'
import { parseNumber } from './connection.ts'
import { type OutputOptions, print } from './output.ts'

export type BenchOptions = OutputOptions & { p95?: string, rate: string, duration: string, connections: string }

type Autocannon = {
  default: (options: object) => Promise<{ '2xx': number, non2xx: number, errors: number, latency: object }> & {
    on: (event: 'response', listener: (client: unknown, status: number, bytes: number, ms: number) => void) => void
  }
}

const loadAutocannon = async (): Promise<Autocannon['default']> => {
  const name = 'autocannon'
  const module = await import(name).catch(() => null) as Autocannon | null
  if (module === null) throw new Exit(exitCodes.usage, 'job-status: bench needs autocannon: npm install autocannon')
  return module.default
}

const quantile = (sorted: readonly number[], share: number): number =>
  Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 100) / 100

/**
 * Polls the status of a job at a fixed rate and prints the latencies in ms; fails if the 95th percentile is above
 * `p95`, or if any poll is not answered with 200.
 */
export const bench = async (url: string, token: string, options: BenchOptions): Promise<void> => {
  const limit = options.p95 === undefined ? Infinity : parseNumber('--p95', options.p95, 0)
  const autocannon = await loadAutocannon()
  const latencies: number[] = []
  const run = autocannon({
    url,
    headers: { authorization: `Bearer ${token}` },
    connections: parseNumber('--connections', options.connections, 1),
    overallRate: parseNumber('--rate', options.rate, 1),
    duration: parseNumber('--duration', options.duration, 1)
  })
  // autocannon itself records whole milliseconds.
  run.on('response', (_client, _status, _bytes, ms) => { latencies.push(ms) })
  const { '2xx': answered, non2xx, errors } = await run
  latencies.sort((one, other) => one - other)
  const [p50, p95, p99] = [quantile(latencies, 0.5), quantile(latencies, 0.95), quantile(latencies, 0.99)]
  const figures = { polls: answered, failed: non2xx + errors, p50, p95, p99 }
  print(options, figures, () =>
    `${answered} polls, ${figures.failed} failed; ms: p50 ${p50}, p95 ${p95}, p99 ${p99}`)
  if (figures.failed > 0 || answered === 0) throw new Exit(exitCodes.failed, 'job-status: some polls were not answered with 200')
  if (p95 > limit) throw new Exit(exitCodes.failed, `job-status: p95 is ${p95} ms, above ${limit} ms`)
}
