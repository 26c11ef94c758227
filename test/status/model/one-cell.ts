import {
  type Cell, type Command, empty, encodeCell, encodeCommand, type Reply, run, describeCommand, describeReply
} from './cell.ts'
import type { System } from './explore.ts'

/*
 * One job, one cell that all share, and a scheme by which writers and readers use it. A read that starts after any
 * answer revealed a version must not answer with less: that is all that is asked of a scheme.
 */

export type Scheme = {
  name: string
  beforeCommit?: Command
  /** What a writer does between its commit and its acknowledgement. */
  afterCommit: (version: number) => Command
  /** The command of a reader to the cell; `token` is one that no other reader makes. */
  read: (token: number) => Command
  /** What a reader does with what the record said, before it answers; `token` 0: it got none. */
  fill: (version: number, token: number) => Command
}

export const naiveSchemes = {
  cacheAside: {
    name: 'cache-aside with delete',
    afterCommit: () => ({ do: 'delete' }),
    read: () => ({ do: 'get' }),
    fill: version => ({ do: 'set', version })
  },
  writeThrough: {
    name: 'write-through',
    afterCommit: version => ({ do: 'set', version }),
    read: () => ({ do: 'get' }),
    fill: version => ({ do: 'set', version })
  },
  doubleDelete: {
    name: 'double delete',
    beforeCommit: { do: 'delete' },
    afterCommit: () => ({ do: 'delete' }),
    read: () => ({ do: 'get' }),
    fill: version => ({ do: 'set', version })
  },
  leases: {
    name: 'leases as memcache has them',
    afterCommit: () => ({ do: 'delete' }),
    read: token => ({ do: 'lease-alone', token }),
    fill: (version, token) => ({ do: 'fill', version, token })
  },
  setIfNewer: {
    name: 'set only if newer',
    afterCommit: version => ({ do: 'set-if-newer', version }),
    read: () => ({ do: 'get' }),
    fill: version => ({ do: 'set-if-newer', version })
  }
} as const satisfies Record<string, Scheme>

export const levelOne: Scheme = {
  name: 'level 1',
  afterCommit: version => ({ do: 'expose', version, token: 0 }),
  read: token => ({ do: 'lease', token }),
  fill: (version, token) => ({ do: 'expose', version, token })
}

/** A writer that has no entry at hand. */
export const levelOneOutdating: Scheme = {
  ...levelOne, name: 'level 1, writers outdate', afterCommit: version => ({ do: 'outdate', version })
}

/** How often each may happen. `empty`: the cell is evicted, or all are lost in a restart. `crash`: a writer dies after its commit. `lose`: a reply is lost. */
export type Faults = { empty: number, crash: number, lose: number }

/**
 * A `foreign` writer commits and knows no cache; the `relay` outdates what it finds committed, and then vouches for it. A
 * `bypasser` reads the record whatever the cell holds, and outdates what is older before it answers.
 */
export type ActorKind = 'writer' | 'reader' | 'bypasser' | 'foreign' | 'relay'

type Actor = Readonly<{
  kind: ActorKind
  at: 'idle' | 'begun' | 'known' | 'read' | 'done'
  floor: number
  version: number
  token: number
}>

type State = Readonly<{
  record: number
  revealed: number
  cell: Cell
  actors: readonly Actor[]
  /** Commands whose senders have given up on them, and which may still run. */
  late: readonly Command[]
  faults: Readonly<Faults>
  violation: string | null
}>

const stages: ReadonlyArray<Actor['at']> = ['idle', 'begun', 'known', 'read', 'done']

/**
 * Actors of one kind do the same, and a token is only compared with another. So states that differ in nothing but which
 * of them has done what are the same state: each kind, which stands together, is put in order, and tokens are named by
 * the new places.
 */
const placesOf = ({ actors, cell }: State): number[] => {
  const weights = actors.map(({ at, floor, version, token }, index) => {
    const isInCell = cell.kind === 'token' && cell.token === index + 1
    return ((((stages.indexOf(at) * 16 + floor) * 16 + version) * 2 + Number(isInCell)) * 2) + Number(token === index + 1)
  })
  return actors.map(({ kind }, index) => {
    const weight = weights[index] ?? 0
    let place = actors.findIndex(actor => actor.kind === kind)
    for (const [other, actor] of actors.entries()) {
      const otherWeight = weights[other] ?? 0
      if (actor.kind === kind && (otherWeight < weight || (otherWeight === weight && other < index))) place++
    }
    return place
  })
}

const encode = (state: State): number[] => {
  const { record, revealed, cell, actors, late, faults, violation } = state
  const places = placesOf(state)
  const renamed = (token: number): number => token === 0 ? 0 : (places[token - 1] ?? 0) + 1
  const bytes = [
    record, revealed, encodeCell(cell.kind === 'token' ? { kind: 'token', token: renamed(cell.token) } : cell),
    faults.empty, faults.crash, faults.lose, violation === null ? 0 : 1
  ]
  const start = bytes.length
  for (const [index, { at, floor, version, token }] of actors.entries()) {
    const place = start + 4 * (places[index] ?? 0)
    bytes[place] = stages.indexOf(at)
    bytes[place + 1] = floor
    bytes[place + 2] = version
    bytes[place + 3] = renamed(token)
  }
  for (const command of late) {
    bytes.push(...encodeCommand('token' in command ? { ...command, token: renamed(command.token) } : command))
  }
  return bytes
}

const move = (state: State, index: number, change: Partial<Actor>): State => {
  const actors = [...state.actors]
  actors[index] = { ...state.actors[index], ...change } as Actor
  return { ...state, actors }
}

const isOver = { at: 'done', floor: 0, version: 0, token: 0 } as const

/** An actor reveals a version. */
const reveal = (state: State, index: number, version: number): State => {
  const { kind, floor } = state.actors[index] as Actor
  const isStale = (kind === 'reader' || kind === 'bypasser') && version < floor
  return {
    ...move(state, index, isOver),
    revealed: Math.max(state.revealed, version),
    violation: isStale ? `read ${index} started after v${floor} was revealed, and got v${version}` : null
  }
}

/** What can become of a command; `reply` null: the sender never knows. */
const outcomes = (state: State, command: Command, each: (state: State, reply: Reply | null) => void) => {
  const { cell, reply } = run(state.cell, command)
  each({ ...state, cell }, reply)
  if (state.faults.lose === 0) return
  const lost = { ...state, faults: { ...state.faults, lose: state.faults.lose - 1 } }
  each({ ...lost, cell }, null)
  each({ ...lost, late: [...lost.late, command] }, null)
  each(lost, null)
}

type To = (label: string, state: State) => void

const stepWriter = (scheme: Scheme, state: State, index: number, name: string, to: To) => {
  const { at, version } = state.actors[index] as Actor
  if (at === 'idle') {
    const { beforeCommit } = scheme
    if (beforeCommit === undefined) return to(`${name} begins`, move(state, index, { at: 'begun' }))
    outcomes(state, beforeCommit, after => {
      to(`${name} begins: ${describeCommand(beforeCommit)}`, move(after, index, { at: 'begun' }))
    })
  } else if (at === 'begun') {
    const committed = { ...state, record: state.record + 1 }
    to(`${name} commits v${committed.record}`, move(committed, index, { at: 'known', version: committed.record }))
  } else if (at === 'known') {
    const command = scheme.afterCommit(version)
    outcomes(state, command, (after, reply) => {
      to(
        `${name}: ${describeCommand(command)}: ${reply === null ? 'no reply' : describeReply(reply)}; acknowledges v${version}`,
        reveal(after, index, version)
      )
    })
    if (state.faults.crash > 0) {
      const crashed = { ...state, faults: { ...state.faults, crash: state.faults.crash - 1 } }
      to(`${name} dies after its commit`, move(crashed, index, isOver))
    }
  }
}

const stepReader = (scheme: Scheme, state: State, index: number, name: string, to: To) => {
  const { kind, at, version, token } = state.actors[index] as Actor
  if (at === 'idle') {
    const next = kind === 'bypasser' ? 'known' : 'begun'
    to(`${name} starts, v${state.revealed} is revealed`, move(state, index, { at: next, floor: state.revealed }))
  } else if (at === 'begun') {
    const command = scheme.read(index + 1)
    outcomes(state, command, (after, reply) => {
      if (reply?.kind === 'hit') {
        return to(
        `${name}: ${describeCommand(command)}: answers v${reply.version}`, reveal(after, index, reply.version)
        )
      }
      to(`${name}: ${describeCommand(command)}: ${reply === null ? 'no reply' : describeReply(reply)}`,
        move(after, index, { at: 'known', token: reply?.kind === 'token' ? reply.token : 0 }))
    })
  } else if (at === 'known') {
    to(`${name} reads v${state.record} in the record`, move(state, index, { at: 'read', version: state.record }))
  } else if (at === 'read') {
    const command = kind === 'bypasser' ? { do: 'outdate', version } as const : scheme.fill(version, token)
    outcomes(state, command, (after, reply) => {
      to(
        `${name}: ${describeCommand(command)}: ${reply === null ? 'no reply' : describeReply(reply)}; answers v${version}`,
        reveal(after, index, version)
      )
    })
  }
}

const stepRelay = (state: State, index: number, name: string, to: To) => {
  const { at, version } = state.actors[index] as Actor
  if (at === 'idle') {
    to(`${name} finds v${state.record} in the log`, move(state, index, { at: 'known', version: state.record }))
  }
  if (at !== 'known') return
  const command: Command = { do: 'outdate', version }
  outcomes(state, command, (after, reply) => {
    to(
      `${name}: ${describeCommand(command)}: ${reply === null ? 'no reply' : describeReply(reply)}; vouches for v${version}`,
      reveal(after, index, version)
    )
  })
}

const step = (scheme: Scheme, state: State, index: number, to: To) => {
  const { kind, at } = state.actors[index] as Actor
  const name = `${kind} ${index}`
  switch (kind) {
    case 'writer': return stepWriter(scheme, state, index, name, to)
    case 'reader': case 'bypasser': return stepReader(scheme, state, index, name, to)
    case 'relay': return stepRelay(state, index, name, to)
    case 'foreign':
      if (at === 'idle') {
        to(`${name} commits v${state.record + 1}`, { ...move(state, index, isOver), record: state.record + 1 })
      }
  }
}

/** `faults`: those that can happen; the cell begins with the entry of version 1. */
export const oneCellSystem = (scheme: Scheme, kinds: readonly ActorKind[], faults: Partial<Faults>): System<State> => ({
  initial: {
    record: 1,
    revealed: 1,
    cell: { kind: 'entry', version: 1 },
    actors: kinds.map(kind => ({ ...isOver, kind, at: 'idle' })),
    late: [],
    faults: { empty: 0, crash: 0, lose: 0, ...faults },
    violation: null
  },
  next: (state, to) => {
    for (const index of state.actors.keys()) step(scheme, state, index, to)
    const { faults, cell, late } = state
    if (faults.empty > 0 && cell.kind !== 'empty') {
      to('the cell is emptied', { ...state, cell: empty, faults: { ...faults, empty: faults.empty - 1 } })
    }
    for (const [index, command] of late.entries()) {
      to(`${describeCommand(command)} runs late`, {
        ...state, cell: run(cell, command).cell, late: late.toSpliced(index, 1)
      })
    }
  },
  violation: state => state.violation,
  encode
})
