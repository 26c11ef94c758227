import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'

/*
 * The service with one deliberate fault, named by FAULT: whoever looks for lost writes has to find it.
 */

type Fault = { file: string, sound: string, broken: string }

const faults: Record<string, Fault> = {
  // What a run reports is answered, and committed a little later.
  'acknowledges-early': {
    file: '/src/write/run-job.ts',
    sound: 'const { lookup, event, state } = await transact(async write => {',
    broken: `const { lookup, event, state } = await (work => new Promise((resolve, reject) => {
      transact(async write => {
        resolve(await work(write))
        await new Promise(resolve => setTimeout(resolve, 40))
      }).catch(reject)
    }))(async write => {`
  },
  // Every statement is a transaction of its own.
  'commits-by-halves': {
    file: '/src/store/transact.ts',
    sound: 'const settles = await commitTogether(database, works)',
    broken: `const settles: (() => void)[] = []
      for (const { work, resolve, reject } of works) {
        await database.writer.connection().execute(db => work(db as never)).then(
          value => { settles.push(() => { resolve(value as never) }) },
          error => { settles.push(() => { reject(error) }) })
      }`
  }
}

const fault = faults[process.env.FAULT ?? '']
if (fault === undefined) throw new Error('FAULT names no fault')

registerHooks({
  load: (url, context, nextLoad) => {
    if (!url.endsWith(fault.file)) return nextLoad(url, context)
    const source = readFileSync(fileURLToPath(url), 'utf8')
    if (!source.includes(fault.sound)) throw new Error(`${fault.file} has changed: the fault has no place any more`)
    return { format: 'module-typescript', shortCircuit: true, source: source.replace(fault.sound, () => fault.broken) }
  }
})

await import('../../../src/main.ts')
