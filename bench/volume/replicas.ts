import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type BenchPostgres, findFastFolder, startBenchPostgres } from '../postgres.ts'
import { secret } from '../requests.ts'
import { type RedisServer, type Server, startRedis, startServer } from '../servers.ts'

/*
 * Services on a new database of either kind, with a Redis of their own, for programs that compare the databases.
 */

export type DatabaseKind = 'SQLite' | 'Postgres'

export type Replicas = { urls: string[], servers: Server[], databaseUrl: string, stop: () => Promise<void> }

export type Machine = {
  postgres: BenchPostgres
  /** Starts `count` processes of the service on one new database; on Postgres it may have `rows` records already. */
  startReplicas: (kind: DatabaseKind, options?: { count?: number, rows?: number }) => Promise<Replicas>
  stop: () => Promise<void>
}

const bytesFreeMin = 4 * 1024 ** 3

/** Starts a Postgres, and makes a folder for SQLite databases beside it. Both are in memory where there is room. */
export const startMachine = async (): Promise<Machine> => {
  const directory = mkdtempSync(join(findFastFolder(bytesFreeMin), 'bench-'))
  const remove = () => { rmSync(directory, { recursive: true, force: true }) }
  process.once('exit', remove)
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(2))
  const postgres = await startBenchPostgres()
  let databases = 0
  return {
    postgres,
    startReplicas: async (kind, { count = 1, rows = 0 } = {}) => {
      if (rows > 0) await postgres.prepare(rows)
      const databaseUrl = kind === 'Postgres'
        ? await (rows > 0 ? postgres.copyOf(rows) : postgres.createDatabase())
        : `sqlite:${join(directory, `${++databases}.db`)}`
      const redis: RedisServer = await startRedis()
      const servers: Server[] = []
      while (servers.length < count) {
        servers.push(await startServer({
          program: 'src/main.ts',
          env: { JWT_SECRET: secret, WORKERS: '0', DATABASE_URL: databaseUrl, REDIS_URL: redis.url }
        }))
      }
      return {
        urls: servers.map(({ url }) => url),
        servers,
        databaseUrl,
        stop: async () => {
          await Promise.all(servers.map(server => server.stop()))
          await redis.stop()
        }
      }
    },
    stop: async () => {
      await postgres.stop()
      remove()
    }
  }
}
