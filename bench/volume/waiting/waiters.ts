import { setTimeout as delay } from 'node:timers/promises'
import { waitingBudgets as budgets } from '../../budgets.ts'
import { databasePath, startProcess, startService, type Usage } from '../service.ts'
import { type Crowd, openCrowd, toGet } from './clients.ts'
import { printFigures, quantile, toShares } from './figures.ts'
import { writeRunningRows } from './running-rows.ts'

/*
 * 10,000 clients wait, each for a job of its own: first with long polls, then on streams of events. Measures the memory
 * of a client and the CPU while nothing happens, both also of a bare Fastify route that holds its reply, and how soon a
 * client hears of the end of its job while another program ends 500 jobs a second.
 *
 * WAITERS changes their number; with --quick only the memory is measured. An argument names the only kind to measure.
 */

const isQuick = process.argv.includes('--quick')
const waiters = Number(process.env.WAITERS ?? (isQuick ? '2000' : '10000'))
const endsPerSecond = 500
const roundMs = 10
// Streams are pinged every 15 s.
const idleMs = 15_000

type Kind = 'long-poll' | 'stream'
type Process = { url: string, rssBytes: () => number, usage: () => Usage }

/** What a process uses while `work` runs. */
const measureShares = async ({ usage }: Process, work: () => Promise<unknown>) => {
  const before = usage()
  await work()
  return toShares(before, usage())
}

const measureHeld = async (process: Process, crowd: Pick<Crowd, 'toRequest' | 'onBytes'>) => {
  const before = process.rssBytes()
  const settle = isQuick ? { settleMs: 1000 } : {}
  const close = await openCrowd({ url: process.url, count: waiters, ...crowd, ...settle })
  const bytes = (process.rssBytes() - before) / waiters
  const { cores: idle } = isQuick ? { cores: 0 } : await measureShares(process, () => delay(idleMs))
  return { bytes, idle, close }
}

const measureControl = async (kind: Kind) => {
  const control = await startProcess('bench/controls/holding.ts', {})
  const request = toGet(control.url, kind === 'stream' ? '/stream' : '/reply')
  const { bytes, idle, close } = await measureHeld(control, { toRequest: () => request })
  close()
  await control.end()
  return { bytes, idle }
}

const measureService = async (kind: Kind) => {
  const service = await startService({ WAITERS_MAX: String(2 * waiters) })
  const { endSome, close: closeJobs } = writeRunningRows(databasePath, kind, waiters)
  await delay(1000)
  const endedAt = new Map<number, number>()
  const lateness: number[] = []
  const toPath = (index: number) => `/api/v1/jobs/${kind}-${index}${kind === 'stream' ? '/events' : '?wait=55'}`
  const { bytes, idle, close } = await measureHeld(service, {
    toRequest: index => toGet(service.url, toPath(index)),
    onBytes: (index, bytes) => {
      const at = endedAt.get(index)
      if (at === undefined || !bytes.includes('Succeeded')) return
      lateness.push(performance.now() - at)
      endedAt.delete(index)
    }
  })
  const endAll = async () => {
    const began = performance.now()
    for (let ended = 0; ended < waiters;) {
      const due = Math.min(waiters, Math.floor((performance.now() - began) * endsPerSecond / 1000))
      if (due > ended) {
        endSome(ended, due)
        const now = performance.now()
        for (let index = ended; index < due; index += 1) endedAt.set(index, now)
        ended = due
      }
      await delay(roundMs)
    }
    while (endedAt.size > 0 && performance.now() < began + waiters / endsPerSecond * 1000 + 10_000) await delay(10)
  }
  const shares = isQuick ? { cores: 0, waited: 0 } : await measureShares(service, endAll)
  close()
  closeJobs()
  await service.stop({ isKept: kind === 'long-poll' })
  return { bytes, idle, ...shares, missing: endedAt.size, lateness }
}

const kinds: readonly Kind[] = ['long-poll', 'stream']
const only = kinds.filter(kind => process.argv.includes(kind))

for (const kind of only.length > 0 ? only : kinds) {
  const control = await measureControl(kind)
  const { bytes, idle, cores, waited, missing, lateness } = await measureService(kind)
  const memory = { max: isQuick ? budgets.memoryToControl.quick : budgets.memoryToControl.max }
  printFigures(`${waiters} waiting clients, ${kind}`, [
    { what: 'memory of a client (KiB)', value: bytes / 1024, digits: 1 },
    { what: 'memory of a client of the control (KiB)', value: control.bytes / 1024, digits: 1 },
    { what: 'ratio to the control', value: bytes / control.bytes, digits: 2, ...memory },
    ...isQuick
      ? []
      : [
          { what: 'cores used while nothing happens', value: idle, digits: 3, max: budgets.idleCores },
          { what: 'cores used by the control', value: control.idle, digits: 3 },
          { what: `cores used at ${endsPerSecond} ends a second`, value: cores, digits: 2 },
          { what: 'noticed after, P50 (ms)', value: quantile(lateness, 0.5), digits: 1 },
          {
            what: 'noticed after, P99 (ms)',
            value: quantile(lateness, 0.99),
            digits: 1,
            max: budgets.noticeMs,
            isTime: true
          },
          { what: 'never noticed', value: missing, max: 0 }
        ]
  ], waited)
}
