import { realpathSync, statSync } from 'node:fs'
import { DatabaseMoved } from '../errors.ts'

/*
 * Compares the files of an open database with those that are now at its path. SQLite goes on with a file that was
 * removed or replaced: it would read and write what no other process can see and what is gone after a restart.
 */

const files = [
  { suffix: '', name: 'the database file', isCommitted: true },
  { suffix: '-wal', name: 'the write-ahead log of the database (-wal)', isCommitted: true },
  { suffix: '-shm', name: 'the index of the write-ahead log (-shm)', isCommitted: false },
  { suffix: '.lock', name: 'the lock file of the database (.lock)', isCommitted: false }
]

export type FileWatch = {
  /** Remembers the files, which are open now. */
  begin: () => void
  /** Looks at all files. Throws DatabaseMoved. */
  check: () => void
  /** Looks at the files that a commit was written to. Throws DatabaseMoved. */
  checkCommitted: () => void
  /** Throws DatabaseMoved if the last check did. Costs nothing. */
  requireFound: () => void
}

type Watched = (typeof files)[number] & { path: string, identity: string }

const identify = (path: string): string | undefined => {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`
}

const describeLoss = ({ suffix, name }: Watched, isRemoved: boolean): string => {
  const event = `${name} was ${isRemoved ? 'removed' : 'replaced'} while the service runs`
  return isRemoved && suffix === '' ? `${event}: put it back, or restart the service` : `${event}: restart the service`
}

export const createFileWatch = (path: string): FileWatch => {
  let watched: Watched[] = []
  let committed: Watched[] = []
  let lost: DatabaseMoved | null = null
  const checkThese = (some: readonly Watched[]): void => {
    for (const file of some) {
      const identity = identify(file.path)
      if (identity === file.identity) continue
      lost = new DatabaseMoved(describeLoss(file, identity === undefined))
      throw lost
    }
  }
  return {
    begin: () => {
      watched = files.flatMap(file => {
        // SQLite names the other files after the file itself, wherever a link at the path leads.
        const ofFile = file.suffix === '' ? path : realpathSync(path) + file.suffix
        const identity = identify(ofFile)
        return identity === undefined ? [] : [{ ...file, path: ofFile, identity }]
      })
      committed = watched.filter(({ isCommitted }) => isCommitted)
    },
    check: () => {
      checkThese(watched)
      lost = null
    },
    checkCommitted: () => { checkThese(committed) },
    requireFound: () => { if (lost !== null) throw lost }
  }
}
