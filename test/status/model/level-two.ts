import { type Command, type Reply, run, describeCommand, describeReply } from './cell.ts'
import type { System } from './explore.ts'
import {
  type Actor, type ActorKind, cellOf, encode, type Faults, isOldViewLeased, type Link, type Mode, move, noFaults,
  type NodeName, nothing, replaced, reveal,
  spend, type State, type View, withCell
} from './level-two-state.ts'

/*
 * Level 2 for two nodes on one database and one cache. The database holds a row that says which epoch's cells may be
 * believed, and how: `on`, `off`, or `warm` (expose, but neither read nor fill). A node acts on a view of that row for
 * which it holds a lease; here a lease may end at any time, and must have ended before others rely on its being over.
 * Whoever gets no reply from the cache turns the row off under a new epoch, and reveals nothing until no lease on an
 * older view is left. When the cache comes back as another server, who finds it does the same.
 */

/** What holds the protocol together; each can be left out, to see it break. */
export type Rules = {
  /** No answer past the cache while another node may still believe older cells. */
  awaitsOldLeases: boolean
  /** From off to on only by way of warm. */
  warmsUp: boolean
  /** A failed command ends the epoch, not only the use of the cache. */
  beginsNewEpoch: boolean
  /** A new connection asks which server answers, and gets a new lease, before it is used. */
  checksServer: boolean
  /** A command belongs to the connection it was given to, and is not sent again on the next. */
  dropsCommandsWithConnection: boolean
}

export const allRules: Rules = {
  awaitsOldLeases: true, warmsUp: true, beginsNewEpoch: true, checksServer: true, dropsCommandsWithConnection: true
}

type To = (label: string, state: State) => void

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
    const { node, at, epoch, connection } = state.actors[index] as Actor
    const view = state.views[node]
    if (at === 'begun') {
      if (view === null) return
      if (view.mode !== 'on') return to(`${name} sees ${view.mode}`, move(state, index, { at: 'hasRead' }))
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
        to(`${name}: ${label}`, move(after, index, reply?.kind === 'hit'
          ? { at: 'answering', connection: 0, version: reply.version, epoch: 0 }
          : { at: 'hasRead', connection: 0, token, epoch: token === 0 ? 0 : epoch }))
      })
    } else {
      to(`${name} reads v${state.record} in the record`, move(state, index, {
        at: 'publishing', version: state.record
      }))
    }
  }

  const trip = (state: State, node: 0 | 1, seenEpoch: number): State => {
    const { row } = state
    const isFirst = row.epoch === seenEpoch && row.mode !== 'off'
    const after = isFirst ? { ...row, mode: 'off' as const, epoch: row.epoch + (rules.beginsNewEpoch ? 1 : 0) } : row
    return { ...state, row: after, views: replaced(state.views, node, { mode: after.mode, epoch: after.epoch }) }
  }

  /** How it gets from a version in hand to the right to reveal it. */
  const publish = (state: State, index: number, name: string, to: To) => {
    const { node, at, epoch, token, version, kind } = state.actors[index] as Actor
    const view = state.views[node]
    if (at === 'publishing') {
      if (view === null) return
      if (view.mode === 'off') {
        if (rules.awaitsOldLeases && isOldViewLeased(state, node)) return
        return to(`${name} sees off, and may answer v${version}`, move(state, index, {
          at: 'answering', token: 0, epoch: 0
        }))
      }
      const command: Command = kind === 'relay'
        ? { do: 'outdate', version }
        : { do: 'expose', version, token: view.mode === 'on' && epoch === view.epoch ? token : 0 }
      outcomes(state, { node, connection: 'any', epoch: view.epoch, command }, (after, label, reply) => {
        to(`${name}: ${label}`, move(after, index, {
          at: reply === null ? 'failed' : 'published', epoch: view.epoch, token: 0
        }))
      })
    } else if (at === 'published') {
      const holds = view !== null && view.epoch === epoch && view.mode !== 'off'
      to(`${name} ${holds ? 'still has its view' : 'has lost its view'}`, move(state, index, {
        at: holds ? 'answering' : 'publishing', epoch: 0
      }))
    } else if (at === 'failed') {
      const after = trip(state, node, epoch)
      to(`${name} trips: ${after.row.mode}, epoch ${after.row.epoch}`, move(after, index, { at: 'waiting', epoch: 0 }))
    } else if (!rules.awaitsOldLeases || !isOldViewLeased(state, node)) {
      to(`${name} has waited for the old leases`, move(state, index, { at: 'publishing' }))
    }
  }

  const begin = (state: State, index: number, name: string, to: To) => {
    const next = state.record + 1
    switch (state.actors[index]?.kind) {
      case 'reader': return to(`${name} starts, v${state.revealed} is revealed`, move(state, index, {
        at: 'begun', floor: state.revealed
      }))
      case 'writer': return to(`${name} commits v${next}`, {
        ...move(state, index, { at: 'publishing', version: next }), record: next
      })
      case 'foreign': return to(`${name} commits v${next}`, { ...move(state, index, { at: 'done' }), record: next })
      case 'relay': return to(`${name} finds v${state.record} in the log`, move(state, index, {
        at: 'publishing', version: state.record
      }))
    }
  }

  const act = (state: State, index: number, to: To) => {
    const { kind, node, at, version } = state.actors[index] as Actor
    const name = `${kind} ${index} on ${node === 0 ? 'A' : 'B'}`
    switch (at) {
      case 'idle': return begin(state, index, name, to)
      case 'begun': case 'reading': case 'hasRead': return read(state, index, name, to)
      case 'answering': return to(
        `${name} ${kind === 'relay' ? 'vouches for' : 'answers'} v${version}`, reveal(state, index)
      )
      case 'done': return
      default:
        publish(state, index, name, to)
        if (kind === 'writer' && at === 'publishing' && state.faults.crash > 0) {
          to(`${name} dies after its commit`, move(spend(state, 'crash'), index, { ...nothing, at: 'done' }))
        }
    }
  }

  /** Leases and connections of one node. */
  const keepUp = (state: State, node: 0 | 1, to: To) => {
    const { row, views, links } = state
    const view = views[node]
    const link = links[node]
    const name = node === 0 ? 'A' : 'B'
    const lapsed = { ...state, views: replaced(views, node, null) }
    if (view === null) {
      to(`${name} takes a lease on ${row.mode}, epoch ${row.epoch}`, {
        ...state, views: replaced(views, node, { mode: row.mode, epoch: row.epoch })
      })
    } else if (view.epoch !== row.epoch || view.mode !== row.mode) to(`the lease of ${name} ends`, lapsed)
    else if (state.faults.expire > 0) to(`the lease of ${name} ends early`, spend(lapsed, 'expire'))
    if (link.isUp) return
    const connected: State = { ...state, links: replaced(links, node, { isUp: true, connection: link.connection + 1 }) }
    if (!rules.checksServer) return to(`${name} connects again`, connected)
    const isKnown = row.server === state.server
    to(`${name} connects again${isKnown ? '' : ', to another server'}`, {
      ...connected,
      views: replaced(views, node, null),
      row: isKnown ? row : { mode: 'off', epoch: row.epoch + 1, server: state.server }
    })
  }

  const turn = (state: State, to: To) => {
    const { row, views, links } = state
    const all = (mode: Mode) => views.every(view => view === null || (view.mode === mode && view.epoch === row.epoch))
    const become = (mode: Mode) => { to(`the row says ${mode}`, { ...state, row: { ...row, mode } }) }
    if (row.mode === 'off' && all('off') && !state.isCutOff && links.every(({ isUp }) => isUp)) {
      become(rules.warmsUp ? 'warm' : 'on')
    }
    if (row.mode === 'warm' && all('warm')) become('on')
  }

  return { act, keepUp, turn }
}

/** What happens to the cache and on the way to it. */
const misfortunes = (state: State, to: To) => {
  const { faults, cells, snapshot, links, late } = state
  if (faults.evict > 0) {
    for (const [epoch, cell] of cells.entries()) {
      if (cell.kind !== 'empty') {
        to(`the cell of epoch ${epoch} is emptied`, spend({
          ...state,
          cells: withCell(
            cells, epoch, { kind: 'empty' }
          )
        }, 'evict'))
      }
    }
  }
  if (faults.restart > 0) to('the cache restarts empty', spend({ ...state, cells: [] }, 'restart'))
  if (faults.rollBack > 0 && snapshot === null) to('the cache saves its contents', { ...state, snapshot: cells })
  if (faults.rollBack > 0 && snapshot !== null) {
    const [a, b] = links
    to('the cache comes back with what it had saved', spend({
      ...state,
      cells: snapshot,
      snapshot: null,
      late: [],
      server: state.server + 1,
      links: [{ ...a, isUp: false }, { ...b, isUp: false }]
    }, 'rollBack'))
  }
  if (faults.cutOff > 0 && !state.isCutOff) {
    to('A is cut off from the cache', spend({ ...state, isCutOff: true }, 'cutOff'))
  }
  if (state.isCutOff) to('A reaches the cache again', { ...state, isCutOff: false })
  for (const [index, { command, epoch }] of late.entries()) {
    const { cell } = run(cellOf(cells, epoch), command)
    to(`${describeCommand(command)} runs late in epoch ${epoch}`, {
      ...state, cells: withCell(cells, epoch, cell), late: late.toSpliced(index, 1)
    })
  }
}

export type Setting = {
  actors: ReadonlyArray<readonly [ActorKind, NodeName]>
  faults: Partial<Faults>
  rules?: Partial<Rules>
  /** Of the row at the beginning, when the cell of its epoch holds version 1. */
  mode?: Mode
}

export const levelTwoSystem = ({ actors, faults, rules, mode = 'on' }: Setting): System<State> => {
  const { act, keepUp, turn } = createSteps({ ...allRules, ...rules })
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
      links: [link, link],
      isCutOff: false,
      actors: actors.map(([kind, node]) => ({ ...nothing, kind, at: 'idle', node: node === 'A' ? 0 : 1 })),
      faults: { ...noFaults, ...faults },
      violation: null
    },
    next: (state, to) => {
      for (const index of state.actors.keys()) act(state, index, to)
      misfortunes(state, to)
      for (const node of [0, 1] as const) keepUp(state, node, to)
      turn(state, to)
    },
    violation: state => state.violation,
    encode
  }
}
