import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { buildDataset } from '../datasets.ts'
import { startLoad } from '../load.ts'
import { waitedMax } from '../judge.ts'
import { findFastFolder } from '../postgres.ts'
import { createRequests, secret, toPlace } from '../requests.ts'
import { freePort, type Server, startRedis, startServer, until } from '../servers.ts'
import { median, printTable } from './service.ts'

/*
 * What a second process costs, and what it brings: one process, and two that share a port, a database and a Redis, are
 * loaded in turns with cached reads of 200 running jobs: with as many requests a second as one process gets, with as
 * many for each, and with as many as the connections allow. CPU is that of all processes of the service.
 *
 * As many processes as there are cores would need two more, for Redis and for the load. The throughput is only shown:
 * without these cores it is that of the machine. The CPU of a request says how much of it a process could have.
 */

const jobs = 200
const rate = 2000
const connections = 50
const rounds = 5
const seconds = 2
const warmUpSeconds = 2

/** CPU per request of two processes, as a multiple of that of one with as much load as each: 0.9 of its throughput. */
const cpuRatioMax = 1 / 0.9

type Group = { count: number, url: string, servers: Server[], stop: () => Promise<void> }

const startGroup = async (directory: string, count: number): Promise<Group> => {
  const databasePath = join(directory, `${count}.db`)
  await buildDataset(databasePath, jobs)
  const redis = await startRedis()
  const port = await freePort()
  const servers = await Promise.all(Array.from({ length: count }, () => startServer({
    program: 'src/main.ts',
    env: {
      DATABASE_URL: `sqlite:${databasePath}`,
      REDIS_URL: redis.url,
      JWT_SECRET: secret,
      WORKERS: '0',
      PORT: String(port),
      REUSE_PORT: 'true'
    }
  })))
  const url = `http://127.0.0.1:${port}`
  await until('the use of the cache', async () =>
    (await (await fetch(`${url}/readyz`)).json() as { cache: { mode: string } }).cache.mode === 'on')
  return {
    count,
    url,
    servers,
    stop: async () => {
      await Promise.all(servers.map(server => server.stop()))
      await redis.stop()
    }
  }
}

const readCpu = async ({ servers }: Group) => await Promise.all(servers.map(server => server.cpu()))

type Measured = { cpuMicros: number, p99Ms: number, perSecond: number, share: number, waited: number }

/** Loads the processes; `perSecond` null: as fast as the connections allow. */
const measure = async (group: Group, perSecond: number | null, forSeconds = seconds): Promise<Measured> => {
  const nextRequest = await createRequests(toPlace(group.url, jobs))({ kind: 'each', jobs })
  const load = startLoad({ url: group.url, connections, rate: perSecond, nextRequest, expectedStatus: 200 })
  await delay(200)
  const from = await readCpu(group)
  load.begin()
  await delay(forSeconds * 1000)
  const to = await readCpu(group)
  const counted = load.end()
  await load.stop()
  const { errors, unexpected } = load.failures()
  if (errors + unexpected > 0) throw new Error(`${errors} requests failed, ${unexpected} had an unexpected response`)
  const used = to.map(({ cpuMicros }, at) => cpuMicros - (from[at]?.cpuMicros ?? 0))
  const all = used.reduce((sum, micros) => sum + micros, 0)
  const waited = to.map(({ waitedMs }, at) => (waitedMs - (from[at]?.waitedMs ?? 0)) / (counted.seconds * 1000))
  return {
    cpuMicros: all / counted.answered,
    p99Ms: counted.histogram.getValueAtPercentile(99) / 1000,
    perSecond: counted.answered / counted.seconds,
    share: Math.max(...used) / all,
    waited: Math.max(...waited)
  }
}

const directory = mkdtempSync(join(findFastFolder(64 * 1024 ** 2), 'bench-'))
process.once('exit', () => { rmSync(directory, { recursive: true, force: true }) })
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(2))

const one = await startGroup(directory, 1)
const two = await startGroup(directory, 2)
const cases = [
  { name: `one process, ${rate}/s`, group: one, perSecond: rate },
  { name: `two processes, ${rate}/s together`, group: two, perSecond: rate },
  { name: `two processes, ${rate}/s each`, group: two, perSecond: 2 * rate },
  { name: 'one process, as fast as possible', group: one, perSecond: null },
  { name: 'two processes, as fast as possible', group: two, perSecond: null }
].map(each => ({ ...each, measured: [] as Measured[] }))

try {
  for (const group of [one, two]) await measure(group, null, warmUpSeconds)
  for (let round = 0; round < rounds; round++) {
    for (const { group, perSecond, measured } of round % 2 === 0 ? cases : cases.toReversed()) {
      measured.push(await measure(group, perSecond))
    }
  }
  const figure = (measured: Measured[], name: keyof Measured) => median(measured.map(each => each[name]))
  printTable({
    cores: availableParallelism(),
    ...Object.fromEntries(cases.map(({ name, group, measured }) => [
      name,
      `${figure(measured, 'cpuMicros').toFixed(1)} µs of CPU per request, ` +
      `${figure(measured, 'perSecond').toFixed(0)}/s, P99 ${figure(measured, 'p99Ms').toFixed(1)} ms, ` +
      `waited for a core ${(figure(measured, 'waited') * 100).toFixed(0)} % of the time` +
      (group.count === 1 ? '' : `, the busier one had ${(figure(measured, 'share') * 100).toFixed(0)} % of it`)
    ]))
  })
  const [alone, , each] = cases
  // Processes that share a core lose its caches to each other, so that the ratio says nothing.
  const isStarved = figure(each?.measured ?? [], 'waited') > waitedMax
  const ratio = figure(each?.measured ?? [], 'cpuMicros') / figure(alone?.measured ?? [], 'cpuMicros')
  printTable({
    [`CPU per request, two to one at as much load for each (at most ${cpuRatioMax.toFixed(2)})`]:
    ratio.toFixed(2) + (isStarved ? ', does not count: the processes waited for a core' : '')
  })
  if (!isStarved && !(ratio <= cpuRatioMax)) process.exitCode = 1
} finally {
  await Promise.all([one, two].map(({ stop }) => stop()))
}
