import { createPruneTasks } from '../../src/background/prune-tasks.ts'
import { createPruner } from '../../src/background/pruner.ts'
import { createViews } from '../../src/views/views.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { createCommit } from '../../src/write/commit.ts'
import { storeOn } from '../store/open.ts'
import { createExpireResults } from '../../src/write/expire-results.ts'

/*
 * A process that prunes a database, a row at a time, tells of the first and waits to be killed:
 * node pruning-child.ts DATABASE
 */

const database = openDatabase(process.argv[2] ?? '')
const { transact, changes, retention } = storeOn(database)
const now = () => Date.now()
const { toEntry } = createViews({ publicUrl: null, onInvalid: () => {} })
const commit = createCommit({ transact, expose: async lookup => toEntry(lookup), onTransition: () => {} })
const tasks = createPruneTasks({
  transact,
  changes,
  retention,
  expireResults: createExpireResults({ commit, now }),
  now,
  idempotencyKeyKeptMs: 1e12,
  recordRetentionMs: 1000,
  tombstoneRetentionMs: 1e12,
  pruneForeignRows: false
})
await createPruner({
  tasks: tasks.map(task => ({
    ...task,
    prune: async () => {
      const pruned = await task.prune(1)
      process.stdout.write('.')
      return pruned
    }
  })),
  onPruned: () => {},
  isStopping: () => false,
  monotonicNow: () => performance.now()
})()
