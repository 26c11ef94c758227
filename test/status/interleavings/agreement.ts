import { createSharedEpoch, type SharedEpoch, type SharedEpochNeeds } from '../../../src/status/epoch/shared-epoch.ts'
import type { EpochRow, EpochRowStore, NodeRow } from '../../../src/store/store.ts'
import type { Hop, Network, Time } from './surroundings.ts'

/*
 * What the nodes agree on their cache by: rows in memory, written as src/store/tx/epoch-rows.ts writes them.
 */

const holdMs = 100

/** Every read and write waits to be chosen, and once more until its answer is known. */
export const createRows = (hop: Hop, now: () => number): EpochRowStore => {
  let epoch: EpochRow = { name: 'before', mode: 'off', runId: null, reason: null, changedAt: 0, holdMs: 0, flaps: 0 }
  const nodes = new Map<string, NodeRow>()
  const write = async (name: string, work: () => void) => {
    await hop(`${name} begins`)
    work()
    await hop(`${name} ends`)
  }
  const begin = (name: string, reason: string, hold: number) => {
    epoch = { ...epoch, name, mode: 'off', runId: null, reason, changedAt: now(), holdMs: hold }
  }
  const change = (node: string, what: Partial<NodeRow>) => {
    const row = nodes.get(node)
    if (row !== undefined) nodes.set(node, { ...row, ...what, beat: row.beat + 1 })
  }
  return {
    read: async () => {
      await hop('a refresh begins')
      const rows = { epoch, nodes: [...nodes.values()] }
      await hop('a refresh is answered')
      return rows
    },
    join: (node, name) => write(`${node} joins`, () => {
      begin(name, 'a process has started', 0)
      nodes.set(node, {
        node, epoch: name, mode: 'off', runId: null, beat: (nodes.get(node)?.beat ?? 0) + 1, isGone: 0
      })
    }),
    trip: (node, seen, name, reason) => write(`${node} trips`, () => {
      if (epoch.name !== seen || epoch.mode === 'off') return
      begin(name, reason, holdMs)
      change(node, { epoch: name, mode: 'off', runId: null })
    }),
    acknowledge: (node, what) => write(`${node} acknowledges ${what.mode}`, () => { change(node, what) }),
    advance: ({ name, mode }, next, runId) => write(`on to ${next}`, () => {
      if (epoch.name === name && epoch.mode === mode) {
        epoch = { ...epoch, mode: next, runId, reason: null, changedAt: now() }
      }
    }),
    evict: gone => write('others are marked', () => {
      for (const { node, beat } of gone) {
        const row = nodes.get(node)
        if (row?.beat === beat) nodes.set(node, { ...row, isGone: 1 })
      }
    }),
    remove: gone => write('others are forgotten', () => {
      for (const { node, beat } of gone) {
        const row = nodes.get(node)
        if (row?.beat === beat && row.isGone === 1) nodes.delete(node)
      }
    }),
    leave: node => write(`${node} leaves`, () => { nodes.delete(node) })
  }
}

export type AgreementNeeds = {
  node: string
  rows: EpochRowStore
  createRefresh: SharedEpochNeeds['createRefresh']
  network: Network
  time: Time
  /** In which this node is always late. */
  lag: number
  randomId: () => string
  /** Which server answers now. */
  server: () => string
  onEvent: (event: string) => void
}

export const openSharedEpoch = ({
  node, rows, createRefresh, network, time, lag, randomId, server, onEvent
}: AgreementNeeds): SharedEpoch => createSharedEpoch({
  node,
  rows,
  createRefresh,
  staleNodes: [],
  identify: () => network.send('identify', () => Promise.resolve(server())),
  randomId,
  now: time.now,
  monotonicNow: time.now,
  schedule: time.createSchedule(lag),
  onChange: ({ mode }) => { onEvent(mode) }
})
