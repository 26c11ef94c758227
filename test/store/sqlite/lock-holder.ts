// A process that holds the lock on a database, or its place among those that share it, until it is killed or told to.
import { once } from 'node:events'
import { lockForProcess, shareAmongProcesses } from '../../../src/store/sqlite/process-lock.ts'

const [databasePath = '', kind = 'alone'] = process.argv.slice(2)

try {
  let wasAlone = false
  const release = kind === 'alone'
    ? lockForProcess(databasePath)
    : (await shareAmongProcesses(databasePath, () => { wasAlone = true })).release
  console.log(wasAlone ? 'locked, alone' : 'locked')
  await once(process.stdin, 'data')
  release()
  console.log('released')
} catch (error) {
  console.log(error instanceof Error ? error.name : 'failed')
}
process.stdin.destroy()
