// A process that works as the first release did: it submits jobs, claims them, reports progress and completes them, with
// statements that it has prepared once. It ends when its input does, and prints the jobs with their versions.
import { setImmediate as turn } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { firstRelease } from './fixtures/first-release.ts'

const [path = ''] = process.argv.slice(2)
const database = new SqliteDatabase(path, { timeout: 10_000 })
database.pragma('synchronous = FULL')

const prepared = Object.fromEntries(
  Object.entries(firstRelease).map(([name, sql]) => [name, database.prepare<unknown[], Record<string, unknown>>(sql)])
)
const statement = (name: keyof typeof firstRelease) => {
  const found = prepared[name]
  if (found === undefined) throw new Error(name)
  return found
}
const run = (name: keyof typeof firstRelease, ...parameters: unknown[]) => statement(name).run(...parameters).changes
const get = (name: keyof typeof firstRelease, ...parameters: unknown[]) => statement(name).get(...parameters)
const immediately = (work: () => void) => { database.transaction(work).immediate() }

const expect = (holds: boolean, what: string) => { if (!holds) throw new Error(what) }
const at = '2026-01-31T12:00:00.000Z'
const available = Date.now()
const jobs: Array<[string, number[]]> = []

const submit = (jobId: string) => {
  expect(get('findIdempotencyKey', 'acme', jobId) === undefined, 'a key that nobody used')
  run(
    'insertRecord', jobId, 'old', 'acme', 'ann', at, 'Queued', null, null, null, null, 0, 0, null, null, null, null,
    null
  )
  run('enqueue', jobId, 'old', 3, null, available, null, null, null)
  run('insertInput', jobId, '{"a":1}', '{}')
  run('saveIdempotencyKey', 'acme', jobId, 'hash', jobId, available)
}

const versionOf = (jobId: string): number => Number(get('findRecord', jobId)?.version)
const update = (jobId: string, status: string, endTime: string | null, percent: number) =>
  expect(run(
    'updateRecord', status, at, endTime, null, null, 1, percent, null, null, null, null, null, jobId, versionOf(jobId)
  ) === 1, `to ${status}`)

const claim = (jobId: string) => {
  const item = get('nextAvailable', 'old', available, 1)
  expect(item?.jobId === jobId, `claimed ${String(item?.jobId)}`)
  update(jobId, 'Running', null, 0)
  run('setLease', 'token', 'w', available + 1000, jobId)
  run('discardChunks', jobId)
  expect(get('findInput', jobId)?.input === '{"a":1}', 'the input')
}

const append = (jobId: string, offset: number) => {
  const last = get('lastChunk', jobId, 1)
  expect(Number(last?.startOffset ?? 0) + Number(last?.sizeBytes ?? 0) === offset, 'the offset')
  run('insertChunk', jobId, offset, Buffer.alloc(10, offset))
}

const complete = (jobId: string) => {
  run('insertResult', jobId, 'text/plain', 'r', 20, 'sha', null)
  update(jobId, 'Succeeded', at, 100)
  run('dequeue', jobId)
  run('deleteInput', jobId)
}

const steps = [
  submit, claim, (jobId: string) => { update(jobId, 'Running', null, 50) }, (jobId: string) => { append(jobId, 0) },
  (jobId: string) => { run('extendLease', available + 2000, jobId) }, (jobId: string) => { append(jobId, 10) }, complete
]

let stopped = false
process.stdin.on('end', () => { stopped = true }).resume()
for (let number = 1; !stopped; number += 1) {
  const jobId = `old-${number}`
  const versions: number[] = []
  for (const step of steps) {
    immediately(() => { step(jobId) })
    versions.push(versionOf(jobId))
    await turn()
  }
  expect(get('nextChunk', jobId, 10) !== undefined && get('findQueueItem', jobId) === undefined, 'the end')
  jobs.push([jobId, versions])
  console.log(jobId)
}
console.log(JSON.stringify(jobs))
