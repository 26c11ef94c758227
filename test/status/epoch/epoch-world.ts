import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Schedule } from '../../../src/schedule.ts'
import type { EpochStatus } from '../../../src/status/epoch/epoch.ts'
import { createRefresh } from '../../../src/status/epoch/refresh.ts'
import { createSharedEpoch, type SharedEpoch } from '../../../src/status/epoch/shared-epoch.ts'
import { createReadEpochRows } from '../../../src/store/sqlite/readers/epoch-rows.ts'
import { createEpochRowStore } from '../../../src/store/epoch-row-store.ts'
import type { EpochRow, EpochRows, NodeRow } from '../../../src/store/store.ts'
import { openDatabase } from '../../../src/store/sqlite/database.ts'
import { migrate } from '../../../src/store/sqlite/migrations/migrate.ts'
import { createTransact } from '../../../src/store/sqlite/transact.ts'

/** A refresh that waits before it reads the rows, and before its answer arrives. */
export type HeldRefresh = { read: () => void, answer: () => void }

export type NodeOptions = { redis?: string | Error, staleNodes?: string[], createRefresh?: typeof createRefresh }

/** A process of the world: the real epoch on connections of its own, before a Redis that the test plays. */
export type Node = {
  name: string
  epoch: SharedEpoch
  changes: EpochStatus[]
  /** When its Redis was asked what it is; ms of the world's clock. */
  trials: number[]
  /** What its Redis says of itself from now on, or how it fails. */
  redis: (next: string | Error) => void
  /** The next probe of its Redis gets no answer until this is called. */
  hold: () => (answer: string) => void
  /** Its loop stands still, as that of a suspended process; what it did before stays as it is. */
  pause: () => void
  resume: () => void
  /** It ends without a word. */
  kill: () => void
  isDead: () => boolean
  /** From now on its refreshes fail, or no longer do. */
  blind: (isBlind: boolean) => void
  /** From now on its refreshes wait, each until the test lets it go on, or no longer do. */
  holdRefreshes: (isHeld: boolean) => void
  /** Those that waited, in the order in which they began. */
  held: HeldRefresh[]
  /** From now on the answers to its refreshes arrive so many ms after the rows were read. */
  answerAfter: (ms: number) => void
  /** From now on its writes there fail, or no longer do. */
  mute: (isMute: boolean) => void
  mode: () => string
  /** Whether it could reveal something now without exposing it. */
  mayReveal: () => Promise<boolean>
}

/** Processes on one real database, on a clock that the test moves. */
export const createWorld = async (t: Test, path = join(t.testdir(), 'jobs.db')) => {
  let time = 1000
  let timers: Array<{ at: number, work: () => void, isHeld: () => boolean }> = []
  const opened = openDatabase(path)
  t.teardown(opened.close)
  await migrate(opened.writer)
  const nodes: Node[] = []

  // What a timer sets off is over after some turns: the database answers at once.
  const settle = async () => { for (let i = 0; i < 12; i++) await turn() }

  /** Moves the clock, and runs what comes due in its order. `each` is called after every step. */
  const pass = async (ms: number, each: () => void = () => {}) => {
    const end = time + ms
    for (;;) {
      const next = timers.filter(timer => timer.at <= end && !timer.isHeld()).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      timers = timers.filter(timer => timer !== next)
      time = Math.max(time, next.at)
      next.work()
      await settle()
      each()
    }
    time = end
    await settle()
    each()
  }

  const enter = ({
    redis = 'redis-1', staleNodes = [], createRefresh: createItsRefresh = createRefresh
  }: NodeOptions = {}): Node => {
    const database = openDatabase(path)
    t.teardown(database.close)
    const name = `node-${nodes.length}`
    let server = redis
    let isBlind = false
    let isPaused = false
    let isMute = false
    let isDead = false
    let answer: Promise<string> | null = null
    const changes: EpochStatus[] = []
    const trials: number[] = []
    const schedule: Schedule = (work, ms) => {
      const timer = { at: time + ms, work, isHeld: () => isPaused || isDead }
      timers.push(timer)
      return { cancel: () => { timers = timers.filter(other => other !== timer) } }
    }
    const transact = createTransact({ database, now: () => performance.now() })
    const rows = createEpochRowStore({
      read: createReadEpochRows(database),
      transact: work => isMute ? Promise.reject(new Error('cannot write')) : transact(work),
      now: () => time
    })
    let isHeld = false
    let answerMs = 0
    const held: HeldRefresh[] = []
    const hold = () => {
      const [reads, answers] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      held.push({ read: reads.resolve, answer: () => { reads.resolve(); answers.resolve() } })
      return { reads: reads.promise, answers: answers.promise }
    }
    const read = async (): Promise<EpochRows> => {
      if (isBlind) throw new Error('cannot read')
      const gate = isHeld ? hold() : undefined
      await gate?.reads
      const found = await rows.read()
      await gate?.answers
      if (answerMs > 0) await new Promise<void>(resolve => { schedule(resolve, answerMs) })
      return found
    }
    const epoch = createSharedEpoch({
      node: name,
      rows: { ...rows, read },
      createRefresh: createItsRefresh,
      staleNodes,
      identify: () => {
        trials.push(time)
        if (answer !== null) return answer
        return typeof server === 'string' ? Promise.resolve(server) : Promise.reject(server)
      },
      randomId: randomUUID,
      now: () => time,
      monotonicNow: () => time,
      schedule,
      onChange: status => { changes.push(status) }
    })
    const node: Node = {
      name,
      epoch,
      changes,
      trials,
      redis: next => { server = next },
      hold: () => {
        let release: (answer: string) => void = () => {}
        answer = new Promise(resolve => { release = resolve })
        return text => {
          answer = null
          release(text)
        }
      },
      pause: () => { isPaused = true },
      resume: () => { isPaused = false },
      kill: () => { isDead = true },
      isDead: () => isDead,
      blind: next => { isBlind = next },
      holdRefreshes: next => { isHeld = next },
      held,
      answerAfter: ms => { answerMs = ms },
      mute: next => { isMute = next },
      mode: () => epoch.view().mode,
      mayReveal: async () => {
        let isOver = false
        epoch.awaitOldLeases().then(answer => { isOver = answer }, () => {})
        await settle()
        return isOver
      }
    }
    nodes.push(node)
    return node
  }

  const start = async (options: NodeOptions = {}): Promise<Node> => {
    const node = enter(options)
    const started = node.epoch.start()
    await settle()
    await pass(0)
    void started
    return node
  }

  return {
    path,
    /** A process that has begun its start; with others there, some time has to pass until it is through. */
    start,
    /** One that has not. */
    enter,
    pass,
    settle,
    now: () => time,
    timers: () => timers,
    rows: () => ({
      epoch: opened.reader.prepare('SELECT * FROM CacheEpoch').get() as EpochRow,
      nodes: opened.reader.prepare('SELECT * FROM CacheNode').all() as NodeRow[]
    })
  }
}

export type World = Awaited<ReturnType<typeof createWorld>>
