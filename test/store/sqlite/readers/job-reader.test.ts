import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import t from 'tap'
import { openForeign, openStore } from '../../open.ts'

const pageBytes = 4096

/** Breaks the chain of pages that hold a long text of x. */
const damage = (path: string): number => {
  const bytes = readFileSync(path)
  const file = openSync(path, 'r+')
  let damaged = 0
  for (let at = 0; at < bytes.length; at += pageBytes) {
    if (!bytes.subarray(at + 4, at + pageBytes).every(byte => byte === 'x'.charCodeAt(0))) continue
    writeSync(file, Buffer.alloc(4, 0xff), 0, 4, at)
    damaged++
  }
  closeSync(file)
  return damaged
}

t.test('reads of one turn are answered each with its own job, and one that fails fails alone', async t => {
  const { store, path } = await openStore(t)
  const foreign = openForeign(t, path)
  const insert = foreign.prepare('INSERT INTO JobExecutionLog (jobId, status, errorDetails) VALUES (?, ?, ?)')
  for (let n = 0; n < 120; n++) insert.run(`job-${n}`, 'Running', null)
  insert.run('removed', 'Queued', null)
  foreign.exec("DELETE FROM JobExecutionLog WHERE jobId = 'removed'")
  insert.run('damaged', 'Failed', 'x'.repeat(10 * pageBytes))
  foreign.pragma('wal_checkpoint(TRUNCATE)')
  t.ok(damage(path) > 0)

  const ids = [...Array.from({ length: 120 }, (_, n) => `job-${n}`), 'damaged', 'removed', 'none', 'job-7']
  const found = await Promise.allSettled(ids.map(id => store.jobs.find(id)))
  for (const [index, id] of ids.entries()) {
    const outcome = found[index]
    if (id.startsWith('job-')) t.match(outcome, { value: { kind: 'job', job: { jobId: id } } })
  }
  t.match(found.slice(120, 123), [
    { reason: { code: 'STORE_UNAVAILABLE' } }, { value: { kind: 'tombstone' } }, { value: { kind: 'absent' } }
  ])
  t.same(
    await Promise.all(['job-3', 'none', 'job-0'].map(id => store.jobs.findVersion(id))), [4, undefined, 1]
  )
})
