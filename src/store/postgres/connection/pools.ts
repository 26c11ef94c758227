import pg from 'pg'
import { type Circuit, createCircuit } from './circuit.ts'
import type { ConnectionTarget, Host, Hosts } from './connection-url.ts'
import { ConnectionLost, DatabaseReplaced, ReplicaReached, ServerUnusable } from '../failures.ts'
import { readServer } from '../identity/identity.ts'

/**
 * Connections to the one database of the store. `connect` rejects with ConnectionLost, ServerUnusable or
 * DatabaseReplaced. `enter`: what is under way on its connections is cut when the circuit opens.
 */
export type Pool = {
  connect: () => Promise<pg.PoolClient>, close: () => Promise<void>, enter?: Circuit['enter']
}

/**
 * Reads, writes and epoch rows have connections of their own: reads never wait for writes, and neither holds back the
 * reads of the epoch, on which every answer from the cache depends. `listen` is for the announcements of others, which
 * keep one connection. `bulk` has no time limits: for migrations and moves, which may read and write whole tables.
 */
export type Pools = { writes: Pool, reads: Pool, epoch: Pool, listen: Pool, bulk: Pool }

const sizes = { writes: 10, reads: 4, epoch: 2, listen: 1, bulk: 1 }

// How long pg waits for a free connection or a new one, and for the answer to a statement. The server ends a statement
// earlier (below); these limits are for a server that no longer answers.
const patience = {
  writes: { connectMs: 5000, answerMs: 8000 },
  reads: { connectMs: 2000, answerMs: 6000 },
  epoch: { connectMs: 500, answerMs: 500 },
  listen: { connectMs: 2000, answerMs: 6000 },
  bulk: { connectMs: 5000, answerMs: 0 }
}

const idleMs = 60_000

type PoolName = keyof Pools

const sessionSettings = {
  // Every statement is a search in an index: to plan it for its values costs more than it saves.
  plan_cache_mode: 'force_generic_plan',
  // A plan that was made while a table was empty would go on reading the whole of it, until the server counts it again.
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  // Nor does a join: with these it would read all of the other table.
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
  TimeZone: 'UTC',
  default_transaction_isolation: 'read committed',
  // An acknowledged commit survives a crash.
  synchronous_commit: 'on',
  statement_timeout: '5s',
  lock_timeout: '1s',
  idle_in_transaction_session_timeout: '10s',
  // Ends the sessions of a process whose machine is gone, and their locks.
  tcp_keepalives_idle: '5',
  tcp_keepalives_interval: '1',
  tcp_keepalives_count: '5',
  client_min_messages: 'warning'
}

// A lock on the rows of the epoch is answered before the time limit, which stands for a server that does not answer.
const epochSettings = { ...sessionSettings, lock_timeout: '300ms' }

// No statement of a bulk connection is a search that has to be planned once and for all.
const bulkSettings = {
  ...Object.fromEntries(Object.entries(sessionSettings).filter(([name]) => !/^(enable_|plan_)/.test(name))),
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0'
}

const settingsOf: Record<PoolName, Record<string, string>> = {
  writes: sessionSettings, reads: sessionSettings, epoch: epochSettings, listen: sessionSettings, bulk: bulkSettings
}

const toOption = ([name, value]: [string, string]): string => `-c ${name}=${value.replace(/[\\ ]/g, '\\$&')}`

// The last of two settings of one name counts, so none of the URL replaces those of the service.
const toOptions = (ofUrl: string, settings: Record<string, string>): string =>
  [ofUrl, ...Object.entries(settings).map(toOption)].filter(option => option !== '').join(' ')

const types: pg.CustomTypesConfig = {
  // Versions, sizes and times in ms are far below 2^53.
  getTypeParser: (oid, format) => oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format) as never
}

/** The hosts of a URL, of which one is the primary. A host stays chosen until a connection to it fails. */
const createHostChoice = (hosts: Hosts) => {
  let [chosen] = hosts
  return {
    count: hosts.length,
    chosen: () => chosen,
    pass: (failed: Host) => { if (failed === chosen) chosen = hosts[hosts.indexOf(failed) + 1] ?? hosts[0] }
  }
}

type HostChoice = ReturnType<typeof createHostChoice>

// The driver's words; without others it would look like a connection that broke.
const isOfPassword = (error: unknown): boolean => error instanceof Error && /client password must be/.test(error.message)

const lacksPassword = () => new ServerUnusable('it asks for a password, and the URL has none, or an empty one')

const isOfServer = (error: unknown): boolean => error instanceof Error && 'severity' in error

/** Called with the identity of the database that a new connection has reached. Throws DatabaseReplaced to close it. */
export type OnIdentity = (identity: string | null) => void

type PoolNeeds = { target: ConnectionTarget, hosts: HostChoice, onIdentity: OnIdentity, circuit: Circuit }

// The epoch's reads are what closes the circuit again.
const isCut: Record<PoolName, boolean> = { writes: true, reads: true, epoch: false, listen: false, bulk: false }

/** Tries each host once. `circuit`: nothing is tried while it is open. */
const createConnect = (pool: pg.Pool, hosts: HostChoice, circuit: Circuit | null): Pool['connect'] => async () => {
  for (let trial = 1; ; trial++) {
    circuit?.requireClosed()
    const host = hosts.chosen()
    try {
      return await (circuit === null ? pool.connect() : circuit.admit(pool.connect()))
    } catch (error) {
      const isLast = trial >= hosts.count || host === hosts.chosen()
      if (!isLast) continue
      const isKnown = error instanceof ServerUnusable || error instanceof DatabaseReplaced || isOfServer(error)
      throw isKnown ? error : new ConnectionLost(error)
    }
  }
}

const openPool = (name: PoolName, { target, hosts, onIdentity, circuit }: PoolNeeds): Pool => {
  const { settings, options } = target
  const { connectMs, answerMs } = patience[name]
  // A pool makes each of its connections by this class, and so to the host that is chosen at that time.
  class ClientOfChosenHost extends pg.Client {
    readonly #host = hosts.chosen()

    constructor () {
      super({
        ...settings,
        ...hosts.chosen(),
        types,
        options: toOptions(options, settingsOf[name]),
        query_timeout: answerMs,
        keepAlive: true,
        pipeline: name === 'writes'
      })
      // A connection that breaks while it is in use emits its error, too; without a listener the process would end.
      this.on('error', () => {})
    }

    async #connectToPrimary (): Promise<pg.Client> {
      try {
        await super.connect()
        const { isReplica, identity } = await readServer(this)
        if (isReplica) throw new ReplicaReached()
        onIdentity(identity)
        return this
      } catch (error) {
        hosts.pass(this.#host)
        void super.end().catch(() => {})
        throw isOfPassword(error) ? lacksPassword() : error
      }
    }

    override connect (): Promise<pg.Client>
    override connect (callback: (error: Error) => void): void
    override connect (callback?: (error: Error) => void): Promise<pg.Client> | undefined {
      const connecting = this.#connectToPrimary()
      if (callback === undefined) return connecting
      connecting.then(() => { (callback as () => void)() }, callback)
      return undefined
    }
  }
  const pool = new pg.Pool({
    max: sizes[name],
    connectionTimeoutMillis: name === 'epoch' ? connectMs : target.connectMs ?? connectMs,
    idleTimeoutMillis: idleMs,
    Client: ClientOfChosenHost
  })
  // Idle connections break, too; the pool removes them by itself.
  pool.on('error', () => {})

  const own = isCut[name] ? circuit : null
  return {
    connect: createConnect(pool, hosts, own), close: () => pool.end(), ...own === null ? {} : { enter: own.enter }
  }
}

/** Opens no connection by itself. */
export const createPools = (
  target: ConnectionTarget, circuit: Circuit = createCircuit(), onIdentity: OnIdentity = () => {}
): Pools => {
  const hosts = createHostChoice(target.hosts)
  const open = (name: PoolName) => openPool(name, { target, hosts, onIdentity, circuit })
  return {
    writes: open('writes'), reads: open('reads'), epoch: open('epoch'), listen: open('listen'), bulk: open('bulk')
  }
}
