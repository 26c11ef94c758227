import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Random } from '../helpers/random.ts'
import { type PostgresPair, startPostgresPair } from '../helpers/postgres-pair.ts'
import { failover, type ForeignProgram, type RecordRow, type TorturedDatabase } from './database.ts'
import type { Server } from '../helpers/postgres-server.ts'
import type { Fault } from './nemesis.ts'
import { type Proxy, startProxy, type Wire } from './proxy.ts'
import { cutSome, delayOne, directions, refuseFor } from './proxy-faults.ts'

const columns = 'jobId AS "jobId", status, version::int AS version, cancelledAt AS "cancelledAt"'

// What another program does when it loses its connection, or a conflict: it begins again.
const retried = /^(40|55|57|08|53)/
const isDuplicate = (error: unknown): boolean => (error as { code?: string }).code === '23505'
const isLost = (error: unknown): boolean => {
  const { code, severity } = error as { code?: string, severity?: string }
  return severity === undefined || severity === 'FATAL' || retried.test(code ?? '')
}

const open = async (url: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
  client.on('error', () => {})
  await client.connect()
  return client
}

const ignoring = async (work: Promise<unknown>): Promise<void> => { await work.catch(() => {}) }

/** Some of its transactions stay open for a while, so that others with later versions commit before them. */
const connectTo = (url: () => string, random: Random): ForeignProgram => {
  let client: pg.Client | undefined
  const versionOf = async (own: pg.Client, jobId: string): Promise<number> => {
    const { rows: [row] } = await own.query<{ version: number }>(
      'SELECT version::int AS version FROM JobExecutionLog WHERE jobId = $1', [jobId])
    return row?.version ?? 0
  }
  const writeOnce = async (sql: string, jobId: string): Promise<number> => {
    client ??= await open(url())
    await client.query('BEGIN')
    await client.query(sql.replace('?', '$1'), [jobId])
    const version = await versionOf(client, jobId)
    if (random.chance(0.3)) await delay(random.between(5, 200))
    const { command } = await client.query('COMMIT')
    if (command !== 'COMMIT') throw new Error(`COMMIT was answered with ${command}`)
    return version
  }
  return {
    write: async (sql, jobId) => {
      for (;;) {
        try {
          return await writeOnce(sql, jobId)
        } catch (error) {
          const lost = client
          client = undefined
          if (lost !== undefined) await ignoring(lost.end())
          // The row of an insertion whose COMMIT was not answered.
          if (isDuplicate(error)) {
            client = await open(url())
            return await versionOf(client, jobId)
          }
          if (!isLost(error)) throw error
          await delay(20)
        }
      }
    },
    close: async () => { if (client !== undefined) await ignoring(client.end()) }
  }
}

const endOf = async (pair: PostgresPair, random: Random): Promise<void> => {
  const primary = pair.primary()
  switch (random.pick(['kill', 'stop', 'hang'])) {
    case 'stop': return await primary.stop()
    case 'hang':
      primary.pause()
      await delay(random.between(100, 2500))
  }
  await primary.kill()
}

const faultsOf = (pair: PostgresPair, url: () => string, proxies: ReadonlyArray<Wire>): Fault[] => {
  const hold = async (statements: string, ms: number): Promise<void> => {
    const client = await open(url())
    try {
      await client.query(statements)
      await delay(ms)
      await client.query('ROLLBACK')
    } finally {
      await ignoring(client.end())
    }
  }
  return [
    {
      name: 'cut connections to Postgres',
      on: 'database',
      run: (_victims, random) => cutSome(proxies, random)
    },
    {
      name: 'refuse connections to Postgres',
      on: 'database',
      run: (_victims, random) => refuseFor(proxies, random, 2500)
    },
    {
      name: 'delay one side of Postgres a little',
      on: 'database',
      run: (_victims, random) => delayOne(proxies, random, random.pick(directions), random.between(5, 60))
    },
    {
      name: 'delay one side of Postgres past the deadline',
      on: 'database',
      run: (_victims, random) => delayOne(proxies, random, random.pick(directions), random.pick([600, 1500, Infinity]))
    },
    {
      name: 'lock the table',
      on: 'database',
      run: async (_victims, random) => {
        await ignoring(hold('BEGIN; LOCK TABLE JobExecutionLog IN ACCESS EXCLUSIVE MODE', random.between(100, 1500)))
      }
    },
    {
      name: 'a long transaction of another program',
      on: 'database',
      run: async (_victims, random) => {
        const statements = `BEGIN ISOLATION LEVEL REPEATABLE READ;
          INSERT INTO JobExecutionLog (jobId, status) VALUES ('never-committed', 'Running')`
        await ignoring(hold(statements, random.between(100, 3000)))
      }
    },
    {
      name: 'terminate all sessions',
      on: 'database',
      run: async (_victims, random) => {
        await ignoring(pair.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`))
        await delay(random.between(50, 500))
      }
    },
    {
      name: 'crash Postgres',
      on: 'database',
      run: async (_victims, random) => {
        await pair.primary().kill()
        await delay(random.between(0, 1500))
        await pair.primary().start()
      }
    },
    {
      name: 'stop Postgres for a while',
      on: 'database',
      run: async (_victims, random) => {
        pair.primary().pause()
        await delay(random.between(100, 3000))
        pair.primary().resume()
      }
    },
    {
      // As an operator does it: the standby follows, and the old primary has ended.
      name: failover,
      on: 'database',
      run: async (_victims, random) => {
        await pair.synchronize()
        await endOf(pair, random)
        await delay(random.between(0, 1500))
        await pair.promote()
        await delay(random.between(0, 1500))
        await pair.rebuild()
      }
    }
  ]
}

/** What is done to it is done to both. */
const both = (first: Proxy, second: Proxy): Wire => {
  const each = (act: (proxy: Proxy) => void) => { for (const proxy of [first, second]) act(proxy) }
  return {
    delay: (direction, ms) => { each(proxy => { proxy.delay(direction, ms) }) },
    cut: () => { each(proxy => { proxy.cut() }) },
    refuse: isRefusing => { each(proxy => { proxy.refuse(isRefusing) }) },
    block: (addresses, isBlocked) => { each(proxy => { proxy.block(addresses, isBlocked) }) },
    close: async () => { await Promise.all([first.close(), second.close()]) }
  }
}

// A standby looks for its primary this often.
const settings = ['wal_retrieve_retry_interval=100ms']

/** A primary and a synchronous standby of its own, which each process reaches through proxies. */
export const openPostgres = async (): Promise<TorturedDatabase> => {
  const closings: Array<() => unknown> = []
  const t = { teardown: (close: () => unknown) => { closings.push(close) } }
  const pair = await startPostgresPair(t, settings)
  const shared = await pair.createDatabase()
  const database = new URL(shared.replace(/,[^/]*/, '')).pathname.slice(1)
  const url = () => pair.primary().urlOf(database)
  const proxies: Array<Wire> = []
  return {
    urlOf: async () => {
      const [first, second] = pair.servers as [Server, Server]
      const [toFirst, toSecond] = [await startProxy(first.port), await startProxy(second.port)]
      const proxy = both(toFirst, toSecond)
      proxies.push(proxy)
      closings.push(proxy.close)
      return shared.replace(`:${first.port}`, `:${toFirst.port}`).replace(`:${second.port}`, `:${toSecond.port}`)
    },
    connect: random => connectTo(url, random.fork()),
    readRecords: async () =>
      (await pair.sql(`SELECT ${columns} FROM JobExecutionLog`, database)).rows as RecordRow[],
    faults: faultsOf(pair, url, proxies),
    interruptsFeed: true,
    close: async () => { for (const close of closings.toReversed()) await close() }
  }
}
