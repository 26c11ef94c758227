import { createRelay, type RelayNeeds } from '../../../src/background/relay.ts'
import { createMemoryCache } from '../../../src/cache/memory-cache.ts'
import type { StatusCache } from '../../../src/cache/status-cache.ts'
import type { JobLookup } from '../../../src/job/job.ts'
import { type CoherenceNeeds, createCoherence } from '../../../src/status/coherence.ts'
import { createFixedEpoch, type Epoch } from '../../../src/status/epoch/epoch.ts'
import { createRefresh } from '../../../src/status/epoch/refresh.ts'
import { createSingleFlight } from '../../../src/status/single-flight.ts'
import type { EpochRowStore } from '../../../src/store/store.ts'
import { createRows, openSharedEpoch } from './agreement.ts'
import { copyCells, putCells } from './cells.ts'
import {
  createDistantCache, createNetwork, createStore, createTime, type Fate, type Hop, toEntry
} from './surroundings.ts'
import type { Mutant, Placement } from './mutant.ts'
import { createWaits } from './waits.ts'
import { createWitness } from './witness.ts'

/*
 * Two nodes of the real code on one record and one cache: of one process with the cache in its memory, or two processes
 * that share a server, each with its own epoch, connection and clock's timers.
 */

export const jobNames = ['a', 'b'] as const
export type JobName = typeof jobNames[number]

/** What a world gives to each of its nodes. */
type NodeNeeds = Pick<
  CoherenceNeeds, 'cache' | 'epoch' | 'find' | 'findVersion' | 'findVersions' | 'uniqueId' | 'onRead' | 'fillPolicy'
>

const forwardCache = (current: () => StatusCache): StatusCache => ({
  get: (...args) => current().get(...args),
  getMany: (...args) => current().getMany(...args),
  lease: (...args) => current().lease(...args),
  expose: (...args) => current().expose(...args),
  exposeMany: (...args) => current().exposeMany(...args),
  invalidate: (...args) => current().invalidate(...args),
  close: () => current().close()
})

const forwardEpoch = (current: () => Epoch): Epoch => ({
  view: () => current().view(),
  trip: (...args) => { current().trip(...args) },
  awaitOldLeases: () => current().awaitOldLeases()
})

const openNode = (current: () => NodeNeeds) => createCoherence({
  views: { toEntry, representation: 1 },
  createSingleFlight,
  fillPolicy: {
    expectsMiss: () => current().fillPolicy.expectsMiss(),
    isWorthFilling: jobId => current().fillPolicy.isWorthFilling(jobId),
    onHit: () => {},
    onMiss: () => {},
    onLoad: () => {},
    onLoaded: () => {},
    onLoadFailed: () => {}
  },
  cache: forwardCache(() => current().cache),
  epoch: forwardEpoch(() => current().epoch),
  find: jobId => current().find(jobId),
  findVersion: jobId => current().findVersion(jobId),
  findVersions: jobIds => current().findVersions(jobIds),
  uniqueId: () => current().uniqueId(),
  onRead: source => { current().onRead(source) }
})

/**
 * Two nodes that outlive the worlds they work in, one after the other: what a reader remembers takes a millisecond to
 * set up, which is longer than a whole run. Each world has jobs of its own, so that none of that is met again.
 */
export const openNodes = () => {
  let worlds = 0
  let needs: readonly NodeNeeds[] = []
  const needsOf = (index: number) => (): NodeNeeds => {
    const found = needs[index]
    if (found === undefined) throw new Error('a node without a world')
    return found
  }
  return {
    nodes: [openNode(needsOf(0)), openNode(needsOf(1))] as const,
    /** Returns the number of the world. */
    moveTo: (next: readonly [NodeNeeds, NodeNeeds]): number => {
      needs = next
      return worlds++
    }
  }
}

export type Nodes = ReturnType<typeof openNodes>

export type WorldNeeds = {
  nodes: Nodes
  hop: Hop
  /** Of the commands to the cache; without more of them all is well. */
  fates: readonly Fate[]
  /** For each read of the store, whether it fails; without more of them none does. */
  outages: readonly boolean[]
  /** Whether a read expects no entry in its cell, and whether it then leaves the cell unfilled. */
  guesses: readonly boolean[]
  /** Of the second node's timers, in steps. */
  lag: number
  /** Of the answers to the second node's refreshes, one after the other and over again, in steps; while it lags behind. */
  answerLags: readonly number[]
  placement: Placement
  mutant: Partial<Mutant>
  onEvent: (event: string) => void
}

type Sharing = { epoch: Epoch, start: () => Promise<void>, disconnect: () => void }

const createIds = (mutant: Partial<Mutant>) => {
  let ids = 0
  const epochs = new Set<string>()
  return {
    epochs,
    token: () => `token-${ids++}`,
    epoch: () => {
      const id = mutant.epochId?.() ?? `epoch-${ids++}`
      epochs.add(id)
      return id
    }
  }
}

export const openWorld = ({ nodes, hop, fates, outages, guesses, lag, answerLags, placement, mutant, onEvent }: WorldNeeds) => {
  let failures = 0
  const onFailure = () => { failures++ }
  const { record, find, findVersion, findVersions } = createStore(hop, outages, onFailure)
  const witness = createWitness(record.versionOf)
  const waits = createWaits({ ...witness, versionOf: record.versionOf, onEvent })
  const cells = createMemoryCache({ now: () => 1, random: () => 0 })
  const time = createTime(hop)
  const ids = createIds(mutant)
  const fatesAhead = [...fates]
  const guessesAhead = [...guesses]
  const guess = (event: string): boolean => {
    const isSo = guessesAhead.shift() ?? false
    if (isSo) onEvent(event)
    return isSo
  }
  const createWay = () => createNetwork({ hop, nextFate: () => fatesAhead.shift() ?? 'answered', onEvent })
  let servers = 0

  let isSlow = false
  let refreshes = 0
  const slowly = (rows: EpochRowStore): EpochRowStore => ({
    ...rows,
    read: async () => {
      const answer = await rows.read()
      const steps = isSlow ? answerLags[refreshes++ % answerLags.length] ?? 0 : 0
      for (let step = 0; step < steps; step++) await hop('an answer to a refresh lags')
      return answer
    }
  })

  const sharing = (network: ReturnType<typeof createWay>, node: string, rows: EpochRowStore, lag: number): Sharing => {
    const epoch = openSharedEpoch({
      node,
      rows,
      createRefresh: mutant.createRefresh ??
      createRefresh,
      network,
      time,
      lag,
      randomId: ids.epoch,
      server: () => `server-${servers}`,
      onEvent
    })
    return { epoch, start: epoch.start, disconnect: () => { epoch.disconnect('disconnected') } }
  }
  const together = (): Sharing => {
    const epoch = createFixedEpoch(ids.epoch)
    return { epoch, start: () => Promise.resolve(), disconnect: () => { epoch.trip(epoch.view(), 'disconnected') } }
  }

  const ways = [createWay(), createWay()] as const
  const soundRows = createRows(hop, time.now)
  const rows = mutant.rows?.(soundRows) ?? soundRows
  const one = together()
  const sharings = placement === 'memory'
    ? [one, one] as const
    : [
        sharing(ways[0], 'A', rows, 0), sharing(ways[1], 'B', slowly(rows), lag)
      ] as const
  const epochs = sharings.map(({ epoch }) => mutant.epoch?.(epoch) ?? epoch) as [Epoch, Epoch]
  const noticing = (epoch: Epoch): Epoch => ({
    ...epoch,
    awaitOldLeases: () => epoch.awaitOldLeases().catch((error: unknown) => {
      onFailure()
      throw error
    })
  })
  const needsOf = (index: 0 | 1): NodeNeeds => ({
    cache: createDistantCache(
      { network: ways[index], hop, isAtHand: placement === 'memory' }, mutant.cache?.(cells) ?? cells
    ),
    epoch: noticing(epochs[index]),
    find,
    findVersion,
    findVersions,
    uniqueId: ids.token,
    fillPolicy: {
      expectsMiss: () => guess('expected a miss'),
      isWorthFilling: () => !guess('bypassed'),
      onHit: () => {},
      onMiss: () => {},
      onLoad: () => {},
      onLoaded: () => {},
      onLoadFailed: () => {}
    },
    onRead: onEvent
  })
  const world = nodes.moveTo([needsOf(0), needsOf(1)])
  const idOf = (name: JobName) => `${name}.${world}`
  const jobIds = jobNames.map(idOf)

  const createRelaying = ({ invalidate, watch }: Pick<Nodes['nodes'][0], 'invalidate' | 'watch'>) => {
    const needs: RelayNeeds = { follower: record.follow(), invalidate, onChanges: watch.onChanges, onGap: () => {} }
    const relay = createRelay(mutant.relay?.(needs, watch) ?? needs)
    const round = async () => {
      const committed = jobIds.map(jobId => [jobId, record.versionOf(jobId)] as const)
      if (await relay() > 0) onEvent('relayed')
      for (const [jobId, version] of committed) witness.reveal(jobId, version)
    }
    let last = Promise.resolve()
    return (): Promise<void> => {
      const next = last.then(round)
      last = next.catch(() => {})
      return next
    }
  }
  const relays = [createRelaying(nodes.nodes[0]), createRelaying(nodes.nodes[1])] as const

  const hearOfLoss = async (index: 0 | 1) => {
    await hop('a lost connection is noticed')
    if (mutant.isDeafToDisconnects !== true) sharings[index].disconnect()
    ways[index].mend()
  }
  let saved: Awaited<ReturnType<typeof copyCells>> = []
  const breakReads = (node: Nodes['nodes'][0]) => ({
    ...node,
    readStatus: mutant.readStatus?.(node.readStatus) ?? node.readStatus,
    watch: mutant.watch?.(node.watch, node.readStatus) ?? node.watch,
    expose: (lookup: JobLookup) => {
      mutant.onExposing?.(node.watch, toEntry(lookup))
      return node.expose(lookup)
    }
  })

  return {
    nodes: [breakReads(nodes.nodes[0]), breakReads(nodes.nodes[1])] as const,
    idOf,
    jobIds,
    record,
    find,
    time,
    ...witness,
    waits,
    /** How often something has failed that a request cannot do without. */
    failures: () => failures,
    /** Answers to the second node's refreshes lag from now on, or no longer. */
    lagBehind: (lags: boolean) => { isSlow = lags },
    start: async () => { await Promise.all(sharings.map(({ start }) => start())) },
    isOn: () => epochs.every(epoch => epoch.view().mode === 'on'),
    /** One round of a node after another; after each one it vouches for what had been committed. */
    relay: (index: 0 | 1): Promise<void> => relays[index](),
    evict: async (jobId: string) => { for (const epoch of ids.epochs) await cells.invalidate(epoch, jobId, Infinity) },
    flush: () => cells.close(),
    save: async () => { saved = await copyCells(cells, ids.epochs, jobIds) },
    /** The cache comes back as another server with what it had saved, and every connection to it is lost. */
    rollBack: async () => {
      for (const way of ways) way.cut()
      servers++
      onEvent('rolled back')
      // What is at hand is never seen without its epoch.
      if (placement === 'memory' && mutant.isDeafToDisconnects !== true) one.disconnect()
      await putCells(cells, saved)
      if (placement === 'memory') for (const way of ways) way.mend()
      else await Promise.all([hearOfLoss(0), hearOfLoss(1)])
    }
  }
}

export type World = ReturnType<typeof openWorld>
