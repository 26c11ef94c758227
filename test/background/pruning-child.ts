import { createPruneTasks } from '../../src/background/prune-tasks.ts'
import { createPruner } from '../../src/background/pruner.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { createParts } from '../helpers/parts.ts'
import { storeOn } from '../store/open.ts'

/*
 * A process that prunes a database, a row at a time, tells of the first and waits to be killed:
 * node pruning-child.ts DATABASE
 */

const database = openDatabase(process.argv[2] ?? '')
const store = storeOn(database)
const { transact, changes, retention } = store
const now = () => Date.now()
const { expireResults } = createParts(store)
const tasks = createPruneTasks({
  transact,
  changes,
  retention,
  expireResults,
  now,
  idempotencyKeyKeptMs: 1e12,
  recordRetentionMs: 1000,
  tombstoneRetentionMs: 1e12,
  changeRetentionMs: 3_600_000,
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
