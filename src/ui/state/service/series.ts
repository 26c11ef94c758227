import type { Sample } from './service.ts'

/*
 * Samples as the lines of plots.
 */

/** A line of a plot, one value for each sample; null: there is none. */
export type Line = { name: string, values: ReadonlyArray<number | null> }

/** A plot. `isStepped`: its values hold until the next sample, as those of a mode do. */
export type PlotData = { title: string, unit: string, lines: readonly Line[], isStepped?: boolean }

const modes = { off: 0, warm: 1, on: 2 } as const
const typesMax = 6

/** The types with the most unfinished jobs, by name. */
const typesIn = (samples: readonly Sample[]): string[] => {
  const most = new Map<string, number>()
  for (const { queue } of samples) {
    for (const { type, queued, running } of queue) most.set(type, Math.max(most.get(type) ?? 0, queued + running))
  }
  return [...most].sort(([, a], [, b]) => b - a).slice(0, typesMax).map(([type]) => type).sort()
}

const toLines = (samples: readonly Sample[], read: Record<string, (sample: Sample) => number | null>): Line[] =>
  Object.entries(read).map(([name, valueOf]) => ({ name, values: samples.map(valueOf) }))

const byType = (samples: readonly Sample[], field: 'queued' | 'running' | 'oldestSeconds'): Line[] =>
  typesIn(samples).map(type => ({
    name: type,
    values: samples.map(({ queue }) => queue.find(row => row.type === type)?.[field] ?? (field === 'oldestSeconds' ? null : 0))
  }))

const toMs = (seconds: number | undefined): number | null => seconds === undefined ? null : seconds * 1000

const quantiles = (samples: readonly Sample[], field: 'noticeSeconds' | 'requestSeconds'): Line[] =>
  toLines(samples, {
    p50: sample => toMs(sample[field]?.p50), p95: sample => toMs(sample[field]?.p95), p99: sample => toMs(sample[field]?.p99)
  })

/** The plots of the service. */
export const toPlots = (samples: readonly Sample[]): PlotData[] => [
  { title: 'Queued jobs by type', unit: '', lines: byType(samples, 'queued') },
  { title: 'Running jobs by type', unit: '', lines: byType(samples, 'running') },
  { title: 'Age of the oldest queued job', unit: 's', lines: byType(samples, 'oldestSeconds') },
  {
    title: 'Claims and ends a minute',
    unit: '',
    lines: toLines(samples, { claims: ({ claimsPerMinute }) => claimsPerMinute, ends: ({ endsPerMinute }) => endsPerMinute })
  },
  {
    title: 'Waiting clients',
    unit: '',
    lines: toLines(samples, {
      'long polls': ({ waitingClients }) => waitingClients.longPolls,
      streams: ({ waitingClients }) => waitingClients.streams,
      feeds: ({ waitingClients }) => waitingClients.feeds
    })
  },
  { title: 'Notice time', unit: 'ms', lines: quantiles(samples, 'noticeSeconds') },
  { title: 'Latency of requests', unit: 'ms', lines: quantiles(samples, 'requestSeconds') },
  {
    title: 'Cache mode (0 off, 1 warm, 2 on)',
    unit: '',
    isStepped: true,
    lines: toLines(samples, { mode: ({ cacheMode }) => modes[cacheMode] })
  }
]
