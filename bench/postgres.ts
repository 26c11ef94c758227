import { existsSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { startPostgres } from '../test/helpers/postgres.ts'
import { fillPostgres } from './postgres-datasets.ts'

/*
 * The Postgres of a run: a server of its own, whose data are in memory where there is room. Its settings are those of a
 * small production server; a commit is written as there, and no disk makes it wait.
 */

const memoryFolder = '/dev/shm'

/** A folder in memory if the system has one with so much free space, else the temporary one. */
export const findFastFolder = (bytesFreeMin: number): string => {
  const { bavail, bsize } = existsSync(memoryFolder) ? statfsSync(memoryFolder) : { bavail: 0, bsize: 0 }
  return bavail * bsize > bytesFreeMin ? memoryFolder : tmpdir()
}

export type BenchPostgres = {
  /** Makes an empty database and returns its URL. */
  createDatabase: () => Promise<string>
  /** Builds the dataset of so many rows, if that was not done yet. */
  prepare: (rows: number) => Promise<void>
  /** Makes a copy of the dataset of so many rows and returns its URL. */
  copyOf: (rows: number) => Promise<string>
  stop: () => Promise<void>
}

const settings = [
  'fsync=on', 'full_page_writes=on', 'shared_buffers=512MB', 'max_wal_size=2GB', 'max_connections=200',
  'maintenance_work_mem=512MB'
]

const bytesFreeMin = 3 * 1024 ** 3

const nameOf = (url: string): string => new URL(url).pathname.slice(1)

/** Starts a Postgres for this run. It ends with the bench, even if that is killed. */
export const startBenchPostgres = async (): Promise<BenchPostgres> => {
  const ends: Array<() => unknown> = []
  const closing = { teardown: (end: () => unknown) => { ends.push(end) } }
  const server = await startPostgres(closing, settings, findFastFolder(bytesFreeMin))
  const [end] = ends
  const datasets = new Map<number, string>()
  const createDatabase = (template?: string) => server.createDatabase(closing, template)
  return {
    createDatabase: () => createDatabase(),
    prepare: async rows => {
      if (datasets.has(rows)) return
      const url = await createDatabase()
      await fillPostgres(url, rows)
      datasets.set(rows, nameOf(url))
    },
    copyOf: async rows => {
      const dataset = datasets.get(rows)
      if (dataset === undefined) throw new Error(`the dataset of ${rows} rows was not prepared`)
      return await createDatabase(dataset)
    },
    // The databases go with the server.
    stop: async () => { await end?.() }
  }
}
