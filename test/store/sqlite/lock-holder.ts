// A process that holds the lock on a database, exclusively or shared, until it is killed or asked to release it.
import { once } from 'node:events'
import { lockForProcess, shareAmongProcesses } from '../../../src/store/sqlite/process-lock.ts'

const [databasePath = '', kind = 'alone'] = process.argv.slice(2)

try {
  let wasAlone = false
  const release = kind === 'alone'
    ? lockForProcess(databasePath)
    : await shareAmongProcesses(databasePath, () => { wasAlone = true })
  console.log(wasAlone ? 'locked, alone' : 'locked')
  await once(process.stdin, 'data')
  release()
  console.log('released')
} catch (error) {
  console.log(error instanceof Error ? error.name : 'failed')
}
process.stdin.destroy()
