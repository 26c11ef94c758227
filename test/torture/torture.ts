import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../helpers/until.ts'
import { checkHistory } from './checker.ts'
import { createTimedClient } from './client.ts'
import { type DatabaseKind, openDatabase, type RecordRow, type TorturedDatabase } from './database.ts'
import { runBurstPoller } from './bursts.ts'
import { runForeignWriter } from './foreign-writer.ts'
import { endPosition, type FaultWindow, type FinalRecord, toEnd } from './history.ts'
import { createMirror, type MirrorClient } from './mirrors.ts'
import { createRandom } from '../helpers/random.ts'
import { createRecorder } from './recorder.ts'
import { bounds, toHistory, toReport, type TortureReport } from './report.ts'
import type { Rule, Violation } from './rules.ts'
import type { ServiceProcess } from './service-process.ts'
import { runStreamer } from './streamers.ts'
import { runLonelyWaiter, runWaiter } from './waiters.ts'
import { runWorker } from './workers.ts'
import { type Actor, runCanceller, runLister, runPoller, runSubmitter, type Stage } from './workload.ts'
import { openWorld, type RedisKind, type World } from './world.ts'

/*
 * Several processes of the service share one database and one Redis; workers, clients and other programs drive jobs
 * through their lives, pollers look on, and meanwhile everything is broken that can be. Afterwards the history is judged.
 */

export type TortureOptions = {
  seed: number
  /** For how long things are broken, in ms; what was begun is finished afterwards. */
  durationMs: number
  processes: number
  /** To write in. */
  folder: string
  /** The file that each service process runs; src/main.ts unless a rule is to be broken. */
  entry?: string | undefined
  /** What the processes share as their cache. Default: one server. */
  redis?: RedisKind | undefined
  /** What the processes share as their record. Default: a SQLite file. */
  database?: DatabaseKind | undefined
  /** Parts of the names of the only faults to inflict; otherwise all. */
  only?: readonly string[] | undefined
  /**
   * Whether some clients wait or follow changes in place of polling; what wakes them also refreshes what others read.
   * Default: true.
   */
  hasWaiters?: boolean
  /** How many requests some of the pollers send at once at most. Default: no poller does. */
  burstSize?: number | undefined
  /**
   * Whether changes, the ends of waits and recoveries have to come within the promised times, which takes a machine with
   * cores to spare.
   */
  judgesTimes: boolean
  /** Ends as soon as all of these are found, with everything left as it is. Whatever else is found does not end it. */
  stopAt?: readonly Finding[]
  /** Gets a line for each fault. */
  log?: (text: string) => void
}

/** One of these rules is broken, and what shows it reads like this. */
export type Finding = { rules: readonly Rule[], text: RegExp }

// What the contract allows, and before it the time for which a process that was killed may still be waited for.
const recoveryMsMax = 5000 + 3000
// This only ends a run that would hang.
const patienceMs = 60_000
// Longer than a service may wait for others that are suspended.
const answerMsMax = 12_000
const complaintsMax = 20

const toFinalRecord = ({ jobId, status, version, cancelledAt }: RecordRow): FinalRecord => {
  const end = toEnd(cancelledAt === null ? status.toLowerCase() : 'cancelled')
  return { jobId, version, position: end === null ? 0 : endPosition, end }
}

const isReady = async (node: ServiceProcess): Promise<boolean> => {
  try {
    const answer = await fetch(`http://127.0.0.1:${node.port}/readyz`, { signal: AbortSignal.timeout(2000) })
    return ((await answer.json()) as { cache: { status: string } }).cache.status === 'ok'
  } catch {
    return false
  }
}

const createPhases = () => {
  let phase: 'torture' | 'drain' | 'over' = 'torture'
  return {
    become: (next: 'drain' | 'over') => { phase = next },
    isDraining: () => phase !== 'torture',
    isOver: () => phase === 'over'
  }
}

// Everybody asks about every job once more, when all has come to rest.
const lookAtAll = async (
  { nodes, ask, recorder }: Pick<Stage, 'nodes' | 'ask' | 'recorder'>, records: readonly FinalRecord[]
): Promise<void> => {
  const restedAt = performance.now()
  for (const { jobId, version } of records) {
    recorder.foreignWrites.push({ job: recorder.toJob(jobId), version, committedAt: restedAt })
  }
  await delay(bounds.recoveryMs + bounds.foreignMs + 50)
  const left = nodes.flatMap(node => recorder.jobs.map((_, job) => ({ node, job })))
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let each = left.pop(); each !== undefined; each = left.pop()) {
      const { node, job } = each
      const answer = await ask(node, `/api/jobs/${recorder.jobs[job] ?? ''}/status`)
      recorder.read({ kind: 'read', job, node: node.index, what: 'last look', answer })
      if (![200, 304, 404].includes(answer.status)) {
        recorder.complain(`last look at process ${node.index}: ${answer.status} though nothing is broken`)
      }
    }
  }))
}

/** Whether a violation is what was looked for. */
export const isOf = ({ rule, text }: Violation, finding: Finding): boolean =>
  finding.rules.includes(rule) && finding.text.test(text)

const timedRules: readonly Rule[] = ['late', 'unnoticed', 'missed']

type Act = {
  world: World,
  stage: Omit<Stage, 'isStopped' | 'isRecovering'>,
  database: TorturedDatabase,
  windows: FaultWindow[],
  abort: () => void
}

const act = async (
  {
    seed, durationMs, processes, only, hasWaiters = true, burstSize = 0, judgesTimes, stopAt, log = () => {}
  }: TortureOptions,
  { world, stage, database, windows, abort }: Act
) => {
  const { nodes } = world
  const { recorder } = stage
  const phases = createPhases()
  const random = createRandom(seed)
  const actor = (isStopped: () => boolean): Actor => ({
    ...stage, isStopped, isRecovering: () => isRecovering, random: random.fork()
  })
  let longestRecoveryMs = 0
  let isRecovering = false
  const recover = async () => {
    const from = performance.now()
    isRecovering = true
    await until(
      async () => (await Promise.all(nodes.map(isReady))).every(Boolean), 'the recovery of the cache',
      judgesTimes ? recoveryMsMax : patienceMs
    )
      .catch((error: unknown) => { recorder.complain(String(error)) })
    isRecovering = false
    longestRecoveryMs = Math.max(longestRecoveryMs, performance.now() - from)
  }
  const readRecords = async () => (await database.readRecords()).map(toFinalRecord)
  const unended = async () => (await readRecords()).filter(({ end }) => end === null).length
  await recover()
  const beganAt = performance.now()
  const isWanted = () => recorder.jobs.length < 8 + (performance.now() - beganAt) / 100
  const waiting = hasWaiters ? nodes : []
  const mirrors: MirrorClient[] = (hasWaiters ? [0, 1] : []).map(
    index => createMirror(actor(phases.isOver), `mirror ${index}`, database))
  const driving = [
    ...[false, hasWaiters].map(
      (waits, index) => runSubmitter(actor(phases.isDraining), { name: `submitter-${index}`, waits, isWanted })),
    ...[0, 1].map(index => runForeignWriter(actor(phases.isDraining), { database, index })),
    ...waiting.map(node => runLonelyWaiter(actor(phases.isDraining), node, { database }))
  ]
  const lasting = [
    ...[0, 1, 2, 3].map(() => runWorker(actor(phases.isOver), phases.isDraining)),
    runCanceller(actor(phases.isDraining)),
    ...nodes.map(node => runLister(actor(phases.isOver), node)),
    ...waiting.map(node => runWaiter(actor(phases.isOver), node)),
    ...waiting.map(node => runStreamer(actor(phases.isOver), node)),
    ...mirrors.map(({ run }) => run()),
    ...(burstSize === 0 ? [] : nodes).map(node => runBurstPoller(actor(phases.isOver), node, burstSize)),
    // As many clients as two processors bear: with more, replies of Redis come too late, and the cache stays off.
    ...nodes.flatMap(node => (processes > 2 || hasWaiters ? [false, true] : [false, true, false, true]).map(
      withTags => runPoller(actor(phases.isOver), node, withTags)
    ))
  ]
  let isFound = false
  const look = () => {
    if (stopAt === undefined) return
    const broken = [
      ...checkHistory(toHistory(recorder, windows, []), bounds),
      ...recorder.complaints.map(complaint => ({ rule: 'answer' as const, ...complaint }))
    ]
    isFound = stopAt.every(finding => broken.some(violation => isOf(violation, finding)))
  }
  const looking = stopAt === undefined ? undefined : setInterval(look, 500)
  const onCalm = async () => {
    await recover()
    // Only what is seen in time needs calm to be judged.
    const needsCalm = judgesTimes &&
      (stopAt === undefined || stopAt.some(({ rules }) => rules.some(rule => timedRules.includes(rule))))
    const calmUntil = performance.now() + (needsCalm ? bounds.recoveryMs + bounds.noticeMs + 1000 : 0)
    while (performance.now() < calmUntil && !isFound) await delay(50)
  }
  // So many complaints are enough, unless the run looks for something else: one fault shows in several ways.
  const isHopeless = () => stopAt === undefined && recorder.complaints.length > complaintsMax
  const isTimeOver = () => isFound || performance.now() - calmUntil > durationMs || isHopeless()
  await onCalm()
  const calmUntil = performance.now()
  await world.runNemesis({
    random: random.fork(),
    isStopped: isTimeOver,
    only,
    onCalm,
    log: text => { log(`${((performance.now() - beganAt) / 1000).toFixed(1)} s: ${text}`) }
  }, windows)
  clearInterval(looking)
  phases.become(isFound ? 'over' : 'drain')
  // Requests that never end are no reason to wait once the violation is found.
  if (isFound) abort()
  await Promise.all(driving)
  if (!isFound) {
    await until(async () => await unended() === 0 || (await delay(200), false), 'the end of all jobs', patienceMs)
      .catch((error: unknown) => { recorder.complain(String(error)) })
  }
  phases.become('over')
  await Promise.all(lasting)
  return { longestRecoveryMs, beganAt, isFound, mirrors }
}

export const runTorture = async (options: TortureOptions): Promise<TortureReport> => {
  const { processes, folder, entry = 'src/main.ts', redis = 'server', judgesTimes } = options
  const database = await openDatabase(options.database ?? 'sqlite', folder)
  const world = await openWorld({ processes, folder, entry, database, redis })
  const { abort, ...client } = createTimedClient(judgesTimes ? answerMsMax : patienceMs)
  try {
    const recorder = createRecorder()
    const stage = { nodes: world.nodes, ...client, recorder, watched: [], watchedForeign: [] }
    const windows: FaultWindow[] = []
    const { beganAt, longestRecoveryMs, isFound, mirrors } =
      await act(options, { world, stage, database, windows, abort })
    const records = (await database.readRecords()).map(toFinalRecord)
    if (!isFound) {
      await lookAtAll(stage, records)
      for (const { finish } of mirrors) await finish()
    }
    const report = toReport(recorder, world, { records, windows, beganAt, longestRecoveryMs })
    const violations = report.violations.filter(({ rule }) => judgesTimes || !timedRules.includes(rule))
    return { ...report, violations }
  } finally {
    await world.close()
    await database.close()
  }
}
