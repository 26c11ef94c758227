import { createHash } from 'node:crypto'
import type { RedisHost } from '../config/redis-url.ts'

/*
 * Which master of a cluster has which slots, as CLUSTER SLOTS says it.
 */

export const slotsCount = 16384

/** A range of slots, both ends included, with the node that is its master. */
export type SlotRange = { from: number, to: number, node: string, address: RedisHost }

type Reply = [from: number, to: number, master: [host: string | null, port: number, node: string, ...unknown[]]][]

/** The ranges of a reply to CLUSTER SLOTS. A node that does not know its own host is at the one that was asked. */
export const toRanges = (reply: unknown, askedHost = ''): SlotRange[] =>
  (reply as Reply).map(([from, to, [host, port, node]]) => ({
    from, to, node, address: { host: host === null || host === '' ? askedHost : host, port }
  })).sort((a, b) => a.from - b.from)

/** Whether each slot has a master. */
export const isComplete = (ranges: readonly SlotRange[]): boolean =>
  ranges.reduce((next, { from, to }) => from === next ? to + 1 : Number.NaN, 0) === slotsCount

/** Equal for equal assignments of slots to nodes, whatever the nodes are called by whom. */
export const toLayout = (ranges: readonly SlotRange[]): string =>
  ranges.map(({ from, to, node }) => `${from}-${to}@${node}`).join(' ')

/** Names an assignment of slots to the runs of servers. `runIds`: by node. */
export const toIdentity = (ranges: readonly SlotRange[], runIds: ReadonlyMap<string, string>): string =>
  createHash('sha256').update(ranges.map(({ from, to, node }) => `${from}-${to}=${runIds.get(node) ?? ''}`).join(' '))
    .digest('hex')

/** Whether a reply to CLUSTER NODES shows slots on their way to or from the node that was asked. */
export const hasMovingSlots = (nodes: string): boolean => /\[\d+-[<>]-/.test(nodes)
