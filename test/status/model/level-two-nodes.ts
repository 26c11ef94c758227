import { describeCommand, run } from './cell.ts'
import {
  cellOf, isViewOfAll, type Mode, replaced, type Rules, spend, type State, type To, withCell
} from './level-two-state.ts'

/*
 * What the nodes do for their leases and connections, and what happens to the cache.
 */

const takeLease = (state: State, node: 0 | 1, name: string, to: To) => {
  const { row, views, answers, hasSlowAnswers } = state
  const answer = hasSlowAnswers ? answers[node] : { mode: row.mode, epoch: row.epoch }
  const asked: State = { ...state, answers: replaced(answers, node, { mode: row.mode, epoch: row.epoch }) }
  if (answer === null) return to(`${name} asks for the row: ${row.mode}, epoch ${row.epoch}`, asked)
  const answered: State = { ...state, answers: replaced(answers, node, null) }
  to(`${name} takes a lease on ${answer.mode}, epoch ${answer.epoch}`, {
    ...answered, views: replaced(views, node, answer)
  })
  if (answer.mode !== row.mode || answer.epoch !== row.epoch) to(`an answer to ${name} comes too late`, answered)
}

/** Leases and connections of one node. */
export const keepUp = (rules: Rules, state: State, node: 0 | 1, to: To) => {
  const { row, views, answers, links } = state
  const view = views[node]
  const link = links[node]
  const name = node === 0 ? 'A' : 'B'
  if (view === null) takeLease(state, node, name, to)
  else if (view.epoch !== row.epoch || view.mode !== row.mode) {
    to(`the lease of ${name} ends`, { ...state, views: replaced(views, node, null) })
  }
  if (link.isUp) return
  const connected: State = { ...state, links: replaced(links, node, { isUp: true, connection: link.connection + 1 }) }
  if (!rules.checksServer) return to(`${name} connects again`, connected)
  const isKnown = row.server === state.server
  to(`${name} connects again${isKnown ? '' : ', to another server'}`, {
    ...connected,
    views: replaced(views, node, null),
    answers: replaced(answers, node, null),
    row: isKnown ? row : { mode: 'off', epoch: row.epoch + 1, server: state.server }
  })
}

/** The row goes on to the next mode. */
export const turn = (rules: Rules, state: State, to: To) => {
  const { row, links, isCutOff } = state
  const become = (mode: Mode) => { to(`the row says ${mode}`, { ...state, row: { ...row, mode } }) }
  if (isCutOff) to('A reaches the cache again', { ...state, isCutOff: false })
  if (!isViewOfAll(state, rules)) return
  if (row.mode === 'warm') become('on')
  if (row.mode === 'off' && !isCutOff && links.every(({ isUp }) => isUp)) become(rules.warmsUp ? 'warm' : 'on')
}

/** What happens to the cache and on the way to it. */
export const misfortunes = (state: State, to: To) => {
  const { faults, cells, snapshot, links, late, views, row } = state
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
  for (const node of [0, 1] as const) {
    const view = views[node]
    if (faults.expire > 0 && view?.epoch === row.epoch && view.mode === row.mode) {
      to(`the lease of ${node === 0 ? 'A' : 'B'} ends early`, spend({
        ...state, views: replaced(views, node, null)
      }, 'expire'))
    }
  }
  for (const [index, { command, epoch }] of late.entries()) {
    const { cell } = run(cellOf(cells, epoch), command)
    to(`${describeCommand(command)} runs late in epoch ${epoch}`, {
      ...state, cells: withCell(cells, epoch, cell), late: late.toSpliced(index, 1)
    })
  }
}
