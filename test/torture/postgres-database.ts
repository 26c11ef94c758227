import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Random } from '../helpers/random.ts'
import { type PrivatePostgres, startPostgres } from '../helpers/postgres.ts'
import type { ForeignProgram, RecordRow, TorturedDatabase } from './database.ts'
import type { Fault } from './nemesis.ts'
import { type Proxy, startProxy } from './proxy.ts'
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
const connectTo = (url: string, random: Random): ForeignProgram => {
  let client: pg.Client | undefined
  const versionOf = async (own: pg.Client, jobId: string): Promise<number> => {
    const { rows: [row] } = await own.query<{ version: number }>(
      'SELECT version::int AS version FROM JobExecutionLog WHERE jobId = $1', [jobId])
    return row?.version ?? 0
  }
  const writeOnce = async (sql: string, jobId: string): Promise<number> => {
    client ??= await open(url)
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
            client = await open(url)
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

const faultsOf = (postgres: PrivatePostgres, url: string, proxies: readonly Proxy[]): Fault[] => {
  const hold = async (statements: string, ms: number): Promise<void> => {
    const client = await open(url)
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
        await ignoring(postgres.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`))
        await delay(random.between(50, 500))
      }
    },
    {
      name: 'crash Postgres',
      on: 'database',
      run: async (_victims, random) => {
        await postgres.kill()
        await delay(random.between(0, 1500))
        await postgres.restart()
      }
    }
  ]
}

/** A server of its own, which each process reaches through a proxy. */
export const openPostgres = async (): Promise<TorturedDatabase> => {
  const closings: Array<() => unknown> = []
  const t = { teardown: (close: () => unknown) => { closings.push(close) } }
  const postgres = await startPostgres(t)
  const url = await postgres.createDatabase(t)
  const proxies: Proxy[] = []
  return {
    urlOf: async () => {
      const proxy = await startProxy(postgres.port)
      proxies.push(proxy)
      closings.push(proxy.close)
      return url.replace(`:${postgres.port}/`, `:${proxy.port}/`)
    },
    connect: random => connectTo(url, random.fork()),
    readRecords: async () => (await postgres.sql(
      `SELECT ${columns} FROM JobExecutionLog`, new URL(url).pathname.slice(1))).rows as RecordRow[],
    faults: faultsOf(postgres, url, proxies),
    interruptsFeed: true,
    close: async () => { for (const close of closings.toReversed()) await close() }
  }
}
