import { startLoad } from '../load.ts'
import { createRequests, toPlace } from '../requests.ts'
import type { Server } from '../servers.ts'
import { type DatabaseKind, startMachine } from './replicas.ts'
import { printTable } from './service.ts'

/*
 * Reports of progress as fast as 50 connections allow, each on one of 50 jobs in turn: on SQLite, on Postgres, and on
 * Postgres with two replicas, which share the connections. Each report creates a version and is exposed to Redis.
 * Measures reports per second and the CPU of the processes for a report, without that of Postgres and Redis.
 */

const connections = 50
const warmUpMs = 2000
const measuredMs = 5000

const machine = await startMachine()

const startOn = async (server: Server, share: number) => {
  const nextRequest = await createRequests(toPlace(server.url, 0))({ kind: 'progress' })
  return startLoad({ url: server.url, connections: share, rate: null, nextRequest, expectedStatus: 200 })
}

const measure = async (kind: DatabaseKind, count: number): Promise<void> => {
  const { servers, stop } = await machine.startReplicas(kind, { count })
  try {
    const loads = await Promise.all(servers.map(server => startOn(server, connections / count)))
    const wait = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))
    await wait(warmUpMs)
    const cpu = async () => (await Promise.all(servers.map(server => server.cpu())))
      .reduce((sum, { cpuMicros }) => sum + cpuMicros, 0)
    const before = await cpu()
    for (const load of loads) load.begin()
    await wait(measuredMs)
    const counts = loads.map(load => load.end())
    const micros = await cpu() - before
    await Promise.all(loads.map(load => load.stop()))
    const failed = loads.reduce((sum, load) => sum + load.failures().errors + load.failures().unexpected, 0)
    const answered = counts.reduce((sum, each) => sum + each.answered, 0)
    const rate = counts.reduce((sum, each) => sum + each.answered / each.seconds, 0)
    const p99 = Math.max(...counts.map(({ histogram }) => histogram.getValueAtPercentile(99))) / 1000
    const what = `${kind}, ${count} ${count === 1 ? 'process' : 'replicas'}`
    printTable({
      [`${what}: reports per second`]: rate.toFixed(0),
      [`${what}: µs of CPU for a report`]: (micros / answered).toFixed(0),
      [`${what}: P99`]: `${p99.toFixed(1)} ms`,
      [`${what}: failed`]: failed
    })
    if (failed > 0) process.exitCode = 1
  } finally {
    await stop()
  }
}

try {
  await measure('SQLite', 1)
  for (const count of [1, 2]) await measure('Postgres', count)
} finally {
  await machine.stop()
}
