// A process that holds the lock on a database until it is killed or told to release it.
import { once } from 'node:events'
import { lockForProcess } from '../../src/store/process-lock.ts'

const [databasePath = ''] = process.argv.slice(2)

try {
  const release = lockForProcess(databasePath)
  console.log('locked')
  await once(process.stdin, 'data')
  release()
  console.log('released')
} catch (error) {
  console.log(error instanceof Error ? error.name : 'failed')
}
process.stdin.destroy()
