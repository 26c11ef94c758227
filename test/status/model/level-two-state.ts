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

/**
 * A `foreign` writer commits and knows no cache. The `relay` follows the log: it outdates what it finds committed, then
 * vouches for it and wakes who waits on its node. A `bypasser` reads the record whatever the cell holds, and outdates what
 * is older before it answers. A `waiter` has seen the newest version that was revealed and wants
 * the next one; a `stream` wants one after the other until the last.
 */
export type ActorKind = 'writer' | 'reader' | 'bypasser' | 'foreign' | 'relay' | 'waiter' | 'stream'
export type NodeName = 'A' | 'B'

export type Mode = 'on' | 'warm' | 'off'
type At = 'idle'
  | 'begun' | 'reading' | 'hasRead' | 'publishing' | 'published' | 'failed' | 'waiting' | 'answering' | 'parked' | 'done'

export type Actor = Readonly<{
  kind: ActorKind
  node: 0 | 1
  at: At
  /** What had been revealed when it started; of a relay: how far in the log it is. */
  floor: number
  version: number
  token: number
  /** Of the view that it acted on last. */
  epoch: number
  /** To which its command was given. */
  connection: number
  /** By one that waits: the newest version it has seen, the newest it was woken with, and the newest it is to read. */
  seen: number
  offered: number
  asked: number
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
  /** What the row said when a node asked, on its way to the node. */
  answers: readonly [View, View]
  /** Whether a node asks for the row and gets the answer some time later. */
  hasSlowAnswers: boolean
  links: readonly [Link, Link]
  isCutOff: boolean
  actors: readonly Actor[]
  faults: Readonly<Faults>
  violation: string | null
}>

const stages: readonly At[] = [
  'idle', 'begun', 'reading', 'hasRead', 'publishing', 'published', 'failed', 'waiting', 'answering', 'parked',
  'done'
]
const modes: readonly Mode[] = ['on', 'warm', 'off']

export const encode = (state: State): number[] => {
  const { row, views, answers, links, faults, cells, snapshot, late } = state
  const bytes = [
    state.record, state.revealed, modes.indexOf(row.mode), row.epoch, row.server, state.server, Number(state.isCutOff),
    Number(state.violation !== null)
  ]
  for (const view of [...views, ...answers]) bytes.push(view === null ? 0 : 1 + modes.indexOf(view.mode) + 3 * view.epoch)
  for (const { isUp, connection } of links) bytes.push(2 * connection + Number(isUp))
  bytes.push(faults.evict, faults.restart, faults.rollBack, faults.crash, faults.lose, faults.cutOff, faults.expire)
  for (const { at, floor, version, token, epoch, connection, seen, offered, asked } of state.actors) {
    bytes.push(stages.indexOf(at), floor, version, token, epoch, connection, seen, offered, asked)
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

export const nothing = {
  floor: 0, version: 0, token: 0, epoch: 0, connection: 0, seen: 0, offered: 0, asked: 0
} as const

/** An actor reveals a version, and is done unless it says otherwise. */
export const reveal = (
  state: State, index: number, version: number, after: Partial<Actor> = { ...nothing, at: 'done' }
): State => {
  const { kind, floor, seen } = state.actors[index] as Actor
  const isRead = kind !== 'writer' && kind !== 'relay'
  return {
    ...move(state, index, after),
    revealed: Math.max(state.revealed, version),
    violation: isRead && version < floor
      ? `${kind} ${index} started after v${floor} was revealed, and got v${version}`
      : isRead && version < seen ? `${kind} ${index} had v${seen}, and got v${version}` : null
  }
}

export type To = (label: string, state: State) => void

/** What holds the protocol together; each can be left out, to see it break. */
export type Rules = {
  /** No answer past the cache while another node may still believe older cells. */
  awaitsOldLeases: boolean
  /** From off to on only by way of warm. */
  warmsUp: boolean
  /** A failed command ends the epoch, not only the use of the cache. */
  beginsNewEpoch: boolean
  /** A lease counts from when the row was asked for, so that it is over when others think so. */
  leasesFromRequest: boolean
  /** A new connection asks which server answers, and gets a new lease, before it is used. */
  checksServer: boolean
  /** A command belongs to the connection it was given to, and is not sent again on the next. */
  dropsCommandsWithConnection: boolean
  /** Who reads the record without a look at the cell outdates what is older there before it answers. */
  bypassersOutdate: boolean
  /** Who waits subscribes before it reads. */
  subscribesFirst: boolean
  /** Who waits takes no entry from an exposure before its own read is over. */
  readsBeforeEntries: boolean
  /** Who waits takes only entries newer than what it has seen, not any other. */
  takesOnlyNewer: boolean
  /** What the relay finds while one that waits reads is read afterwards. */
  remembersWakes: boolean
  /** An exposure wakes once it has taken effect, not when it begins. */
  exposesBeforeWaking: boolean
  /** An exposure whose outcome is unknown wakes nobody. */
  failsSilently: boolean
  /** The relay wakes once it has outdated, not when it finds the change. */
  outdatesBeforeWaking: boolean
  /** An entry that wakes is judged by what was revealed when the request started, not when the answer is made. */
  judgesFromStart: boolean
}

export const allRules: Rules = {
  awaitsOldLeases: true,
  warmsUp: true,
  leasesFromRequest: true,
  beginsNewEpoch: true,
  checksServer: true,
  dropsCommandsWithConnection: true,
  bypassersOutdate: true,
  subscribesFirst: true,
  readsBeforeEntries: true,
  takesOnlyNewer: true,
  remembersWakes: true,
  exposesBeforeWaking: true,
  failsSilently: true,
  outdatesBeforeWaking: true,
  judgesFromStart: true
}

/** Whether a node acts on such a view of the row, or may come to. */
const holds = ({ views, answers }: State, rules: Rules, node: 0 | 1, isSuch: (view: NonNullable<View>) => boolean) =>
  (rules.leasesFromRequest ? [views[node], answers[node]] : [views[node]]).some(view => view !== null && isSuch(view))

/** Whether another node may still act on cells of an epoch before the row's. */
export const isOldViewLeased = (state: State, rules: Rules, node: 0 | 1): boolean =>
  holds(state, rules, node === 0 ? 1 : 0, ({ epoch }) => epoch < state.row.epoch)

/** Whether no node acts on another view than the row's. */
export const isViewOfAll = (state: State, rules: Rules): boolean => {
  const { row } = state
  const isOther = ({ mode, epoch }: NonNullable<View>) => mode !== row.mode || epoch !== row.epoch
  return !holds(state, rules, 0, isOther) && !holds(state, rules, 1, isOther)
}
