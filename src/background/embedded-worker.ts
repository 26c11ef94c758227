import { createProcessorPool } from '../processors/threads/pool.ts'
import { processors } from '../processors/registry.ts'
import { createWorker, type Worker, type WorkerNeeds } from './worker.ts'

/** A worker with the threads that it runs its jobs in; `close` ends them once it has stopped. */
export type EmbeddedWorker = Worker & { close: () => Promise<void> }

const noWorker: EmbeddedWorker = {
  start: () => {},
  wake: () => {},
  cancel: () => {},
  stop: () => Promise.resolve(),
  close: () => Promise.resolve()
}

/** Runs this process's own processors, `slots` at once; with none it never takes a job. */
export const createEmbeddedWorker = (databasePath: string, needs: Omit<WorkerNeeds, 'pool' | 'types'>): EmbeddedWorker => {
  if (needs.slots === 0) return noWorker
  const pool = createProcessorPool({ databasePath, threads: needs.slots })
  return { ...createWorker({ ...needs, pool, types: [...processors.keys()] }), close: pool.close }
}
