import { type Command, type Reply, run, describeCommand, describeReply } from './cell.ts'
import type { System } from './explore.ts'
import { keepUp, misfortunes, turn } from './level-two-nodes.ts'
import {
  type Actor, type ActorKind, allRules, cellOf, encode, type Faults, isOldViewLeased, type Link, type Mode, move, noFaults,
  type NodeName, nothing, replaced, reveal, type Rules, spend, type State, type To, type View, withCell
} from './level-two-state.ts'
import { findStuck, heed, offer, takeRead, wake } from './level-two-waiters.ts'

/*
 * Level 2 for two nodes on one database and one cache. The database holds a row that says which epoch's cells may be
 * believed, and how: `on`, `off`, or `warm` (expose, but neither read nor fill). A node acts on a view of that row for
 * which it holds a lease; here a lease may end at any time, and must have ended before others rely on its being over.
 * Whoever gets no reply from the cache turns the row off under a new epoch, and reveals nothing until no lease on an
 * older view is left. When the cache comes back as another server, who finds it does the same.
 */

/** Whether a command given to this connection, or to whatever there is, gets to the cache. */
const isReachable = ({ links, isCutOff }: State, node: 0 | 1, connection: number | 'any'): boolean =>
  links[node].isUp && !(node === 0 && isCutOff) && (connection === 'any' || connection === links[node].connection)

/** What can become of a command; `reply` null: the sender knows no more than that it failed. */
const outcomes = (
  state: State, given: { node: 0 | 1, connection: number | 'any', epoch: number, command: Command },
  each: (state: State, label: string, reply: Reply | null) => void
) => {
  const { node, connection, epoch, command } = given
  const label = `${describeCommand(command)} in epoch ${epoch}`
  if (!isReachable(state, node, connection)) return each(state, `${label}: fails`, null)
  const { cell, reply } = run(cellOf(state.cells, epoch), command)
  const ran = { ...state, cells: withCell(state.cells, epoch, cell) }
  each(ran, `${label}: ${describeReply(reply)}`, reply)
  if (state.faults.lose === 0) return
  each(spend(ran, 'lose'), `${label}: runs, the reply is lost`, null)
  each({ ...spend(state, 'lose'), late: [...state.late, { command, epoch }] }, `${label}: lost, and may run late`, null)
  each(spend(state, 'lose'), `${label}: lost`, null)
}

const createSteps = (rules: Rules) => {
  /** How a request goes from the view to what it reads. */
  const read = (state: State, index: number, name: string, to: To) => {
    const { kind, node, at, epoch, connection, asked } = state.actors[index] as Actor
    const view = state.views[node]
    if (at === 'begun') {
      if (view === null) return
      if (view.mode !== 'on' || kind === 'bypasser') {
        return to(`${name} sees ${view.mode}`, move(state, index, { at: 'hasRead' }))
      }
      to(`${name} sees on, epoch ${view.epoch}`, move(state, index, {
        at: 'reading', epoch: view.epoch, connection: state.links[node].connection
      }))
    } else if (at === 'reading') {
      const given = {
        node,
        epoch,
        connection: rules.dropsCommandsWithConnection ? connection : 'any',
        command: {
          do: 'lease', token: index + 1
        }
      } as const
      outcomes(state, given, (after, label, reply) => {
        const token = reply?.kind === 'token' ? reply.token : 0
        const isAnswer = reply?.kind === 'hit' && reply.version >= asked
        to(`${name}: ${label}`, move(after, index, isAnswer
          ? { at: 'answering', connection: 0, version: reply.version, epoch: 0 }
          : { at: 'hasRead', connection: 0, token, epoch: token === 0 ? 0 : epoch }))
      })
    } else {
      to(`${name} reads v${state.record} in the record`, move(state, index, {
        at: kind === 'bypasser' && !rules.bypassersOutdate ? 'answering' : 'publishing', version: state.record
      }))
    }
  }

  const trip = (state: State, node: 0 | 1, seenEpoch: number): State => {
    const { row } = state
    const isFirst = row.epoch === seenEpoch && row.mode !== 'off'
    const after = isFirst ? { ...row, mode: 'off' as const, epoch: row.epoch + (rules.beginsNewEpoch ? 1 : 0) } : row
    return {
      ...state,
      row: after,
      views: replaced(state.views, node, { mode: after.mode, epoch: after.epoch }),
      answers: replaced(state.answers, node, null)
    }
  }

  /** It may reveal its version, and whoever waits at its node gets it. */
  const settle = (state: State, index: number): State => {
    const { kind, node, version } = state.actors[index] as Actor
    const settled = move(state, index, { at: 'answering', token: 0, epoch: 0 })
    return kind === 'relay' ? settled : offer(settled, rules, node, version)
  }

  /** How it gets from a version in hand to the right to reveal it. */
  const publish = (state: State, index: number, name: string, to: To) => {
    const { node, at, epoch, token, version, kind } = state.actors[index] as Actor
    const view = state.views[node]
    if (at === 'publishing') {
      if (view === null) return
      if (view.mode === 'off') {
        if (rules.awaitsOldLeases && isOldViewLeased(state, rules, node)) return
        return to(`${name} sees off, and may answer v${version}`, settle(state, index))
      }
      const command: Command = kind === 'relay' || kind === 'bypasser'
        ? { do: 'outdate', version }
        : { do: 'expose', version, token: view.mode === 'on' && epoch === view.epoch ? token : 0 }
      outcomes(state, { node, connection: 'any', epoch: view.epoch, command }, (after, label, reply) => {
        const failed = reply === null && !rules.failsSilently ? offer(after, rules, node, version) : after
        to(`${name}: ${label}`, move(failed, index, {
          at: reply === null ? 'failed' : 'published', epoch: view.epoch, token: 0
        }))
      })
    } else if (at === 'published') {
      const holds = view !== null && view.epoch === epoch && view.mode !== 'off'
      to(`${name} ${holds ? 'still has its view' : 'has lost its view'}`, holds
        ? settle(state, index)
        : move(state, index, { at: 'publishing', epoch: 0 }))
    } else if (at === 'failed') {
      const after = trip(state, node, epoch)
      to(`${name} trips: ${after.row.mode}, epoch ${after.row.epoch}`, move(after, index, { at: 'waiting', epoch: 0 }))
    } else if (!rules.awaitsOldLeases || !isOldViewLeased(state, rules, node)) {
      to(`${name} has waited for the old leases`, move(state, index, { at: 'publishing' }))
    }
  }

  const begin = (state: State, index: number, name: string, to: To) => {
    const { kind, node, floor } = state.actors[index] as Actor
    const { revealed } = state
    const next = state.record + 1
    const started = `${name} starts, v${revealed} is revealed`
    switch (kind) {
      case 'reader': case 'bypasser': case 'stream': return to(started, move(state, index, { at: 'begun', floor: revealed }))
      case 'waiter': return to(started, move(state, index, { at: 'begun', floor: revealed, seen: revealed }))
      case 'writer': {
        const committed = { ...move(state, index, { at: 'publishing', version: next }), record: next }
        return to(`${name} commits v${next}`, rules.exposesBeforeWaking ? committed : offer(committed, rules, node, next))
      }
      case 'foreign': return to(`${name} commits v${next}`, { ...move(state, index, { at: 'done' }), record: next })
      case 'relay': {
        if (state.record === floor) return
        const found = move(state, index, { at: 'publishing', version: state.record, floor: state.record })
        return to(`${name} finds v${state.record} in the log`, rules.outdatesBeforeWaking
          ? found
          : wake(found, rules, node, state.record))
      }
    }
  }

  const finish = (state: State, index: number, name: string, to: To) => {
    const { kind, node, version, floor } = state.actors[index] as Actor
    if (kind === 'waiter' || kind === 'stream') return takeRead(state, index, rules, name, to)
    if (kind !== 'relay') return to(`${name} answers v${version}`, reveal(state, index, version))
    const vouched = reveal(state, index, version, { ...nothing, at: 'idle', floor })
    to(`${name} vouches for v${version}`, rules.outdatesBeforeWaking ? wake(vouched, rules, node, version) : vouched)
  }

  const act = (state: State, index: number, to: To) => {
    const { kind, node, at } = state.actors[index] as Actor
    const name = `${kind} ${index} on ${node === 0 ? 'A' : 'B'}`
    heed(state, index, rules, name, to)
    switch (at) {
      case 'idle': return begin(state, index, name, to)
      case 'begun': case 'reading': case 'hasRead': return read(state, index, name, to)
      case 'answering': return finish(state, index, name, to)
      case 'parked': case 'done': return
      default:
        publish(state, index, name, to)
        if (kind === 'writer' && at === 'publishing' && state.faults.crash > 0) {
          to(`${name} dies after its commit`, move(spend(state, 'crash'), index, { ...nothing, at: 'done' }))
        }
    }
  }

  return act
}

export type Setting = {
  actors: ReadonlyArray<readonly [ActorKind, NodeName]>
  faults: Partial<Faults>
  rules?: Partial<Rules>
  /** Of the row at the beginning, when the cell of its epoch holds version 1. */
  mode?: Mode
  /** Whether what the row says reaches a node some time after it was asked for; otherwise at once. */
  hasSlowAnswers?: boolean
}

export const levelTwoSystem = (
  { actors, faults, rules, mode = 'on', hasSlowAnswers = false }: Setting
): System<State> => {
  const kept = { ...allRules, ...rules }
  const act = createSteps(kept)
  const view: View = { mode, epoch: 0 }
  const link: Link = { isUp: true, connection: 0 }
  return {
    initial: {
      record: 1,
      revealed: 1,
      cells: mode === 'on' ? [{ kind: 'entry', version: 1 }] : [],
      snapshot: null,
      late: [],
      row: { ...view, server: 0 },
      server: 0,
      views: [view, view],
      answers: [null, null],
      hasSlowAnswers,
      links: [link, link],
      isCutOff: false,
      actors: actors.map(([kind, node]) => ({
        ...nothing, kind, at: 'idle', node: node === 'A' ? 0 : 1, floor: kind === 'relay' ? 1 : 0
      })),
      faults: { ...noFaults, ...faults },
      violation: null
    },
    next: (state, to) => {
      for (const index of state.actors.keys()) act(state, index, to)
      for (const node of [0, 1] as const) keepUp(kept, state, node, to)
      turn(kept, state, to)
    },
    mayHappen: misfortunes,
    violation: state => state.violation,
    unfinished: findStuck,
    encode
  }
}
