import { createPruneTasks } from '../../src/background/prune-tasks.ts'
import { createPruner } from '../../src/background/pruner.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import type { Transact } from '../../src/store/store.ts'
import { createParts } from '../helpers/parts.ts'
import { storeOn } from '../store/open.ts'

/*
 * A process that prunes a database, a row at a time. In the transaction with this number of one kind of data it writes a
 * dot, and waits to be killed:
 * node pruning-child.ts DATABASE KIND NUMBER
 */

const [, , path = '', kindToHold = '', number = ''] = process.argv
const database = openDatabase(path)
const store = storeOn(database)
const { changes, retention } = store
const now = () => Date.now()

let isOfKind = false
let left = Number(number)
const transact: Transact = (work, group) => store.transact(async tx => {
  const value = await work(tx)
  if (isOfKind && --left === 0) {
    process.stdout.write('.')
    await new Promise(() => { setInterval(() => {}, 60_000) })
  }
  return value
}, group)
const { expireResults } = createParts({ ...store, transact })
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
      isOfKind = task.kind === kindToHold
      return await task.prune(1)
    }
  })),
  onPruned: () => {},
  isStopping: () => false,
  monotonicNow: () => performance.now()
})()
