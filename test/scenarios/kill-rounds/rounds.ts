import { copyFileSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { violationsOf } from '../../helpers/invariants.ts'
import { createRandom } from '../../helpers/random.ts'
import { type SpawnedService, spawnService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { compare, openObserver } from './acknowledged.ts'
import { createLoadClient, type LoadClient, UnexpectedAnswer } from './load-client.ts'

const clientsCount = 10
// What is compared after each kill grows with the database: now and then a new one is begun.
const roundsOfADatabase = 10

export type RoundsOptions = {
  rounds: number
  seed: number
  /** A rule of the service that is broken on purpose: the name of a file in `faults`. */
  fault?: string
  /** A round kills its service after 20 up to this many acknowledged writes. */
  writesMax?: number
  /** Does something to the database while the service is down. */
  tamper?: (databasePath: string) => void
}

/** `violations`: a line each, and the rounds end with the first; `lost`: how many of them are acknowledged writes that are not there. */
export type RoundsReport = {
  rounds: number
  acknowledged: number
  /** Commands under way at a kill, and those of them that were carried out. */
  cutOff: number
  carriedOut: number
  lost: number
  violations: string[]
}

// The copy is looked at, and the service itself recovers the original.
const copyOf = (databasePath: string): string => {
  const copy = `${databasePath}.copy`
  for (const name of ['', '-wal', '-shm']) {
    rmSync(copy + name, { force: true })
    if (name !== '-shm' && existsSync(databasePath + name)) copyFileSync(databasePath + name, copy + name)
  }
  return copy
}

const check = (databasePath: string, clients: readonly LoadClient[], report: RoundsReport): void => {
  const copy = copyOf(databasePath)
  report.violations.push(...violationsOf(copy))
  if (report.violations.length > 0) return
  const observer = openObserver(copy)
  const jobs = clients.flatMap(client => client.jobs)
  for (const job of jobs) {
    const wasCutOff = job.underWay !== null
    const { done } = job
    const wrong = compare(job, observer.observe(job))
    if (wasCutOff) report.cutOff++
    if (job.done > done) report.carriedOut++
    if (wrong === null) continue
    report.lost++
    report.violations.push(wrong)
  }
  const known = new Set(jobs.map(({ jobId }) => jobId))
  report.violations.push(
    ...observer.jobIds().filter(jobId => !known.has(jobId)).map(jobId => `no client submitted ${jobId}`)
  )
  observer.close()
}

// A client whose answer was lost sends again: it gets the job that is there.
const replay = async ({ ask }: SpawnedService, clients: readonly LoadClient[], report: RoundsReport): Promise<void> => {
  for (const job of clients.flatMap(({ jobs }) => jobs.slice(-1))) {
    if (job.jobId === null || job.acknowledged.state === 'gone') continue
    const answer = await ask('/api/v1/jobs', {
      method: 'POST', body: { type: job.key, input: { serial: job.serial } }, headers: { 'idempotency-key': job.key }
    })
    const { jobId } = await answer.json() as { jobId: string }
    if (jobId !== job.jobId) report.violations.push(`job ${job.serial}: sent again, ${jobId} in place of ${job.jobId}`)
  }
}

const killUnderLoad = async (
  service: SpawnedService, clients: readonly LoadClient[], { writes, pauseMs }: { writes: number, pauseMs: number },
  acknowledged: () => number
): Promise<void> => {
  const enough = acknowledged() + writes
  const driven = Promise.all(clients.map(client => client.drive(service)))
  try {
    await Promise.race([driven, until(() => acknowledged() >= enough, 'the acknowledged writes', 60_000)])
    await delay(pauseMs)
  } finally {
    await service.kill('SIGKILL')
  }
  await driven
}

/**
 * Rounds of: load, kill -9 in the middle of it, and a comparison of the database with what was acknowledged. The seed
 * repeats the jobs and how long each round is; what the kill hits is up to the moment.
 */
export const killInRounds = async (
  t: Test, { rounds, seed, fault, tamper, writesMax = 220 }: RoundsOptions
): Promise<RoundsReport> => {
  const random = createRandom(seed)
  const report: RoundsReport = { rounds: 0, acknowledged: 0, cutOff: 0, carriedOut: 0, lost: 0, violations: [] }
  const entry = fault === undefined ? 'src/main.ts' : join(import.meta.dirname, 'faults', `${fault}.ts`)
  let serial = 0
  let clients: LoadClient[] = []
  const directory = t.testdir()
  let databasePath = ''
  while (report.rounds < rounds && report.violations.length === 0) {
    if (report.rounds % roundsOfADatabase === 0) {
      databasePath = join(directory, `jobs-${report.rounds}.db`)
      clients = Array.from(
        { length: clientsCount }, () => createLoadClient(random, () => ++serial, () => { report.acknowledged++ })
      )
    }
    const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' }, databasePath, entry)
    await replay(service, clients, report)
    const round = { writes: random.between(20, writesMax), pauseMs: random.next() * 20 }
    await killUnderLoad(service, clients, round, () => report.acknowledged).catch((error: unknown) => {
      if (!(error instanceof UnexpectedAnswer)) throw error
      report.violations.push(error.message)
    })
    tamper?.(databasePath)
    check(databasePath, clients, report)
    report.rounds++
  }
  return report
}
