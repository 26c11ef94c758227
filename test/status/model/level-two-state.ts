import { type Cell, type Command, empty, encodeCell, encodeCommand } from './cell.ts'

/*
 * What two nodes, the database's row and the cache can be in, for level 2.
 */

/**
 * How often each may happen. `evict`: a cell is emptied. `restart`: all are. `rollBack`: the cache comes back as it was
 * at some earlier moment, and all connections with it. `crash`: a writer dies after its commit. `lose`: a reply is
 * lost. `cutOff`: node A does not reach the cache for a while. `expire`: a lease ends before its time.
 */
export type Faults = {
  evict: number, restart: number, rollBack: number, crash: number, lose: number, cutOff: number, expire: number
}

export const noFaults: Faults = { evict: 0, restart: 0, rollBack: 0, crash: 0, lose: 0, cutOff: 0, expire: 0 }

/** A `foreign` writer commits and knows no cache; the `relay` outdates what it finds committed, and then vouches for it. */
export type ActorKind = 'writer' | 'reader' | 'foreign' | 'relay'
export type NodeName = 'A' | 'B'

export type Mode = 'on' | 'warm' | 'off'
type At = 'idle'
  | 'begun' | 'reading' | 'hasRead' | 'publishing' | 'published' | 'failed' | 'waiting' | 'answering' | 'done'

export type Actor = Readonly<{
  kind: ActorKind
  node: 0 | 1
  at: At
  floor: number
  version: number
  token: number
  /** Of the view that it acted on last. */
  epoch: number
  /** To which its command was given. */
  connection: number
}>

/** Null: without a lease. */
export type View = Readonly<{ mode: Mode, epoch: number }> | null
export type Link = Readonly<{ isUp: boolean, connection: number }>

export type State = Readonly<{
  record: number
  revealed: number
  /** By epoch. */
  cells: readonly Cell[]
  snapshot: readonly Cell[] | null
  /** Commands whose senders have given up on them, and which may still run. */
  late: ReadonlyArray<{ command: Command, epoch: number }>
  row: Readonly<{ mode: Mode, epoch: number, server: number }>
  server: number
  views: readonly [View, View]
  links: readonly [Link, Link]
  isCutOff: boolean
  actors: readonly Actor[]
  faults: Readonly<Faults>
  violation: string | null
}>

const stages: readonly At[] = [
  'idle', 'begun', 'reading', 'hasRead', 'publishing', 'published', 'failed', 'waiting', 'answering', 'done'
]
const modes: readonly Mode[] = ['on', 'warm', 'off']

export const encode = (state: State): number[] => {
  const { row, views, links, faults, cells, snapshot, late } = state
  const bytes = [
    state.record, state.revealed, modes.indexOf(row.mode), row.epoch, row.server, state.server, Number(state.isCutOff),
    Number(state.violation !== null)
  ]
  for (const view of views) bytes.push(view === null ? 0 : 1 + modes.indexOf(view.mode) + 3 * view.epoch)
  for (const { isUp, connection } of links) bytes.push(2 * connection + Number(isUp))
  bytes.push(faults.evict, faults.restart, faults.rollBack, faults.crash, faults.lose, faults.cutOff, faults.expire)
  for (const { at, floor, version, token, epoch, connection } of state.actors) {
    bytes.push(stages.indexOf(at), floor, version, token, epoch, connection)
  }
  bytes.push(cells.length, ...cells.map(encodeCell))
  if (snapshot !== null) bytes.push(254, ...snapshot.map(encodeCell))
  for (const { command, epoch } of late) bytes.push(255, epoch, ...encodeCommand(command))
  return bytes
}

export const replaced = <Value>(pair: readonly [Value, Value], index: 0 | 1, value: Value): [Value, Value] =>
  index === 0 ? [value, pair[1]] : [pair[0], value]

export const cellOf = (cells: readonly Cell[], epoch: number): Cell => cells[epoch] ?? empty

/** Trailing empty cells are left out, so that the same contents have one form. */
export const withCell = (cells: readonly Cell[], epoch: number, cell: Cell): readonly Cell[] => {
  const after = [...cells]
  while (after.length <= epoch) after.push(empty)
  after[epoch] = cell
  while (after.at(-1)?.kind === 'empty') after.pop()
  return after
}

export const move = (state: State, index: number, change: Partial<Actor>): State => {
  const actors = [...state.actors]
  actors[index] = { ...state.actors[index], ...change } as Actor
  return { ...state, actors }
}

export const spend = (state: State, fault: keyof Faults): State => ({
  ...state, faults: { ...state.faults, [fault]: state.faults[fault] - 1 }
})

export const nothing = { floor: 0, version: 0, token: 0, epoch: 0, connection: 0 } as const

export const reveal = (state: State, index: number): State => {
  const { kind, floor, version } = state.actors[index] as Actor
  const isStale = kind === 'reader' && version < floor
  return {
    ...move(state, index, { ...nothing, at: 'done' }),
    revealed: Math.max(state.revealed, version),
    violation: isStale ? `read ${index} started after v${floor} was revealed, and got v${version}` : null
  }
}

/** Whether another node may still act on cells of an epoch before the row's. */
export const isOldViewLeased = (state: State, node: 0 | 1): boolean => {
  const other = state.views[1 - node]
  return other != null && other.epoch < state.row.epoch
}
