// A process that reads as the first release did, with statements that it has prepared once, and holds what it reads
// against what it read before. It ends when its input does.
import { setImmediate as turn } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { firstRelease } from './fixtures/first-release.ts'

const [path = ''] = process.argv.slice(2)
const database = new SqliteDatabase(path, { readonly: true, timeout: 100 })
const find = database.prepare<[string], Record<string, unknown>>(firstRelease.findRecord)
const findTombstone = database.prepare<[string], Record<string, unknown>>(firstRelease.findTombstone)
const changes = database.prepare<[number, number], { version: number }>(firstRelease.changesAfter)

const jobIds = Array.from({ length: 200 }, (_, index) => `job-${index + 1}`)
const read = (jobId: string) => find.get(jobId) ?? findTombstone.get(jobId)
const before = new Map(jobIds.map(jobId => [jobId, read(jobId)]))

let stopped = false
process.stdin.on('end', () => { stopped = true }).resume()
let head = 0
for (let round = 1; !stopped; round += 1) {
  for (const jobId of jobIds) {
    const row = read(jobId)
    for (const [column, value] of Object.entries(before.get(jobId) ?? { jobId })) {
      if (row?.[column] !== value) {
        throw new Error(`${jobId}: ${column} was ${String(value)}, is ${String(row?.[column])}`)
      }
    }
  }
  for (const { version } of changes.all(head, 1000)) {
    if (version !== head + 1) throw new Error(`after change ${head} comes ${version}`)
    head = version
  }
  console.log(String(round))
  await turn()
}
