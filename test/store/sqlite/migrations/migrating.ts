// A process that migrates a database, once it is told to begin, and kills itself before a given statement.
import { once } from 'node:events'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import { migrate } from '../../../../src/store/sqlite/migrations/migrate.ts'

const [databasePath = '', lastStatement = 'none'] = process.argv.slice(2)

let statements = 0
const killer = {
  transformQuery: <Node>({ node }: { node: Node }): Node => {
    statements += 1
    if (String(statements) === lastStatement) process.kill(process.pid, 'SIGKILL')
    return node
  },
  transformResult: <Result>({ result }: { result: Result }) => Promise.resolve(result)
}

console.log('ready')
await once(process.stdin, 'data')
process.stdin.destroy()
const { writer, close } = openDatabase(databasePath)
const applied = await migrate(lastStatement === 'none' ? writer : writer.withPlugin(killer))
console.log(`applied ${applied.length} with ${statements} statements`)
await close()
