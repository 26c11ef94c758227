import fc from 'fast-check'
import { ServiceFailure } from '../../../src/errors.ts'
import { createHop, type Fate, fates, storeDown } from './surroundings.ts'
import { type JobName, jobNames, openWorld, type World, type WorldNeeds } from './world.ts'

/*
 * What readers, writers and bad luck do: a few clients, each of which does one thing after another. When anything
 * starts, and who goes on, the scheduler chooses.
 */

type NodeIndex = 0 | 1

/** `seen`: what was revealed to anybody; `committed`: the newest there is; `forged`: one that there may be later. */
const floors = ['none', 'seen', 'committed', 'forged'] as const

type Action =
  | { do: 'read' | 'wait' | 'follow', node: NodeIndex, job: JobName, floor: typeof floors[number] }
  | { do: 'read-many' | 'list', node: NodeIndex }
  | { do: 'find' | 'write' | 'write-outdating', node: NodeIndex, job: JobName }
  | { do: 'write-foreign' | 'evict', job: JobName }
  | { do: 'relay', node: NodeIndex }
  | { do: 'flush' | 'save' | 'roll-back' }

const node = fc.constantFrom<NodeIndex>(0, 1)
// Mostly one, so that they meet.
const job = fc.constantFrom<JobName>('a', 'a', 'a', 'b')

const anyWait = fc.record({
  do: fc.constant('wait' as const), node, job, floor: fc.constantFrom('none', 'seen', 'seen', 'committed')
})

const anyStream = fc.record({
  do: fc.constant('follow' as const), node, job, floor: fc.constantFrom('none', 'none', 'seen', 'committed')
})

const readsAndWrites: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('read'), node, job, floor: fc.constantFrom('none', 'none', 'none', ...floors)
    })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('read-many', 'list'), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('find'), node, job }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('write'), node, job }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('write-outdating', 'write-outdating', 'write-foreign'), node, job
    })
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('evict'), job }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('relay'), node }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('flush', 'save', 'roll-back', 'roll-back') }) }
)

const anyAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 20, arbitrary: readsAndWrites }, { weight: 2, arbitrary: anyWait }, { weight: 1, arbitrary: anyStream }
)

/** Clients that wait in this way, and what wakes them. */
const waitingActionOf = (wait: fc.Arbitrary<Action>): fc.Arbitrary<Action> => fc.oneof(
  { weight: 4, arbitrary: wait },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read'), node, job, floor: fc.constant('none') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('write', 'write-foreign'), node, job }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('relay'), node }) }
)

const clientsOf = (action: fc.Arbitrary<Action>): fc.Arbitrary<Action[][]> =>
  fc.array(fc.array(action, { minLength: 1, maxLength: 5, size: 'max' }), { minLength: 2, maxLength: 6, size: 'max' })

const anyFate = fc.constantFrom<Fate>('answered', 'answered', 'answered', 'answered', 'answered', ...fates)

export type Script = {
  clients: Action[][],
  fates: Fate[],
  outages: boolean[],
  guesses: boolean[],
  jumps: number[],
  lag: number,
  answerLags: number[],
  isWarm: boolean
}

/** `fates`: of the commands to the cache, in their order; `outages`: which reads of the store fail; `guesses`: which reads expect a miss, and which of those fill nothing; `jumps`: of time, in ms; `lag`: of one node's timers, in steps; `answerLags`: of the answers to its refreshes, in turn; `isWarm`: the job is in the cache before anything else happens. */
const scriptWith = (change: { [Key in keyof Script]?: fc.Arbitrary<Script[Key]> }): fc.Arbitrary<Script> => fc.record({
  clients: clientsOf(readsAndWrites),
  fates: fc.oneof(fc.constant<Fate[]>([]), fc.array(anyFate, { maxLength: 16, size: 'max' })),
  outages: fc.oneof({ weight: 3, arbitrary: fc.constant<boolean[]>([]) }, {
    weight: 1, arbitrary: fc.array(fc.boolean(), { maxLength: 6 })
  }),
  guesses: fc.oneof(fc.constant<boolean[]>([]), fc.array(fc.boolean(), { maxLength: 24, size: 'max' })),
  jumps: fc.array(fc.constantFrom(0, 0, 0, 300, 1200), { maxLength: 30, size: 'max' }),
  lag: fc.constantFrom(0, 0, 30),
  answerLags: fc.constant([]),
  isWarm: fc.boolean(),
  ...change
})

/** One node learns late, and in another order, what the rows say, while leases run out. */
const slowScript = scriptWith({
  jumps: fc.array(fc.constantFrom(0, 0, 300, 1200, 1200), { maxLength: 30, size: 'max' }),
  answerLags: fc.constantFrom([60], [0, 60]),
  isWarm: fc.constant(true)
})

const waitingScriptOf = (wait: fc.Arbitrary<Action>) => scriptWith({
  clients: clientsOf(waitingActionOf(wait)),
  isWarm: fc.constant(true)
})
const waitingScript = waitingScriptOf(anyWait)
const followingScript = waitingScriptOf(anyStream)

const readingScript = fc.oneof({ weight: 3, arbitrary: scriptWith({}) }, { weight: 1, arbitrary: slowScript })

const bypassingScript = scriptWith({
  clients: clientsOf(fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('read'), node, job, floor: fc.constant('none') }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('write', 'write-foreign'), node, job }) }
  )),
  guesses: fc.array(fc.boolean(), { minLength: 4, maxLength: 24, size: 'max' })
})

export const scripts = {
  any: fc.oneof(
    { weight: 2, arbitrary: readingScript },
    { weight: 1, arbitrary: scriptWith({ clients: clientsOf(anyAction) }) },
    { weight: 1, arbitrary: waitingScript },
    { weight: 1, arbitrary: followingScript }
  ),
  reading: readingScript,
  slow: slowScript,
  waiting: waitingScript,
  following: followingScript,
  bypassing: bypassingScript
}

const floorOf = ({ record, revealedOf }: World, floor: typeof floors[number], jobId: string): number => {
  switch (floor) {
    case 'none': return 0
    case 'seen': return revealedOf(jobId)
    case 'committed': return record.versionOf(jobId)
    case 'forged': return record.newest() + 1
  }
}

/** `detach`: the client goes on while this goes on. */
const act = async (
  world: World, action: Action, who: string, detach: (work: Promise<void>) => void
): Promise<void> => {
  const { nodes, record, idOf, jobIds, begin, reveal, find } = world
  const jobId = 'job' in action ? idOf(action.job) : ''
  switch (action.do) {
    case 'read': {
      const floor = floorOf(world, action.floor, jobId)
      const end = begin(who, jobId, floor)
      return end(await nodes[action.node].readStatus(jobId, floor))
    }
    case 'wait':
      return detach(world.waits.longPoll(nodes[action.node], who, jobId, floorOf(world, action.floor, jobId)))
    case 'follow':
      return detach(world.waits.follow(nodes[action.node], who, jobId, floorOf(world, action.floor, jobId)))
    case 'read-many': case 'list': {
      const ends = jobIds.map(jobId => begin(who, jobId))
      const { readMany, exposeMany } = nodes[action.node]
      const entries = action.do === 'read-many'
        ? await readMany(jobIds)
        : await exposeMany(jobIds.map(jobId => record.lookUp(jobId)))
      return entries.forEach((entry, index) => { ends[index]?.(entry) })
    }
    case 'find': {
      const end = begin(who, jobId)
      return end(await nodes[action.node].expose(await find(jobId)))
    }
    case 'write': {
      const { version } = await nodes[action.node].expose(record.commit(jobId))
      return reveal(jobId, version)
    }
    case 'write-outdating': {
      record.commit(jobId)
      const version = record.versionOf(jobId)
      await nodes[action.node].invalidate(jobId, version)
      return reveal(jobId, version)
    }
    case 'write-foreign':
      record.commit(jobId)
      return
    case 'evict': return await world.evict(jobId)
    case 'relay': return await world.relay(action.node)
    case 'flush': return await world.flush()
    case 'save': return await world.save()
    case 'roll-back': return await world.rollBack()
  }
}

const ticksMax = 300
// When little has come of a long time, more of it passes.
const impatientTicks = 60

// Outages end: every one is in the script.
const trialsMax = 30

// What a request may fail with: then nothing was revealed.
const isRefusal = (error: unknown) => error === storeDown || error instanceof ServiceFailure

export type Play = Omit<WorldNeeds, 'hop' | 'fates' | 'outages' | 'guesses' | 'lag' | 'answerLags'> & {
  scheduler: fc.Scheduler, script: Script
}

/**
 * Takes one step after another until none is left. Between two steps runs whatever can: `nextTick` comes when no promise
 * has anything to do. `waitIdle` and `waitNext` wait for fifty promises in a row, which took most of the time.
 */
const takeSteps = async (scheduler: fc.Scheduler): Promise<void> => {
  for (;;) {
    await new Promise<void>(resolve => { process.nextTick(resolve) })
    if (scheduler.count() === 0) return
    await scheduler.waitOne()
  }
}

/** Plays a script to its end, and asks every node once more. Returns what was wrong. */
export const play = async ({ scheduler, script, ...needs }: Play): Promise<string[]> => {
  const hop = createHop(scheduler)
  const { onEvent } = needs
  const world = openWorld({
    ...needs,
    hop,
    fates: script.fates,
    outages: script.outages,
    guesses: script.guesses,
    lag: script.lag,
    answerLags: script.answerLags
  })
  const { wrongs, time } = world
  const jumps = [...script.jumps]
  let open = 0

  const passTime = async (isNeeded: () => boolean) => {
    for (let tick = 0; tick < ticksMax && isNeeded() && time.isAwaited(); tick++) {
      await hop('time passes')
      time.pass(jumps.shift() ?? (tick < impatientTicks ? 0 : 200))
    }
  }
  const heed = async (work: Promise<void>, who: string) => {
    await work.catch((error: Error) => {
      if (isRefusal(error)) onEvent('unanswered')
      else wrongs.push(`${who}: ${error.message}`)
    })
  }
  const start = async (action: Action, who: string) => {
    open++
    await hop(`${who} starts`)
    await heed(act(world, action, who, work => { void heed(work, who) }), who)
    open--
  }
  const follow = async (actions: readonly Action[], client: number) => {
    for (const [index, action] of actions.entries()) await start(action, `${client}.${index} ${action.do}`)
  }
  const settle = async () => {
    void passTime(() => open > 0 || world.waits.isAnyDue())
    await takeSteps(scheduler)
  }
  const onEachNode = async (name: string, round: (node: NodeIndex) => Promise<void>) => {
    const untilDone = async (node: NodeIndex) => {
      open++
      let isDone = false
      for (let trial = 0; !isDone && trial < trialsMax; trial++) {
        await hop(`${name} on ${node}`)
        await round(node).then(() => { isDone = true }, (error: unknown) => { if (!isRefusal(error)) throw error })
      }
      open--
    }
    for (const node of [0, 1] as const) void heed(untilDone(node), name)
    await settle()
  }

  world.record.commit(world.idOf('a'))
  void world.start()
  if (script.isWarm) {
    void passTime(() => !world.isOn())
    await takeSteps(scheduler)
    void start({ do: 'read', node: 0, job: 'a', floor: 'none' }, 'first reader')
    await settle()
  }
  world.lagBehind(true)
  await world.save()
  for (const [index, actions] of script.clients.entries()) void follow(actions, index)
  await settle()
  for (const node of [0, 1] as const) {
    for (const job of jobNames) void start({ do: 'read', node, job, floor: 'none' }, `last reader of ${job} on ${node}`)
  }
  await settle()
  if (world.waits.isAny()) {
    world.lagBehind(false)
    await settle()
    await onEachNode('last round of the relay', world.relay)
    // A read that a wake-up led to may have failed; then the check every few seconds finds the difference, and the next
    // one if a read fails again.
    if (world.failures() === 0) world.waits.checkDue('was not woken')
    let failuresBefore
    do {
      failuresBefore = world.failures()
      await onEachNode('last check of those that wait', node => world.nodes[node].watch.recheck())
    } while (world.failures() > failuresBefore)
    world.waits.checkDue('was never answered')
    world.waits.endAll()
    await settle()
  }
  return open === 0 ? wrongs : [...wrongs, `${open} were never answered`]
}
