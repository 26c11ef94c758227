import t, { type Test } from 'tap'
import { createMemoryCache } from '../../../src/cache/memory-cache.ts'
import { createReadResult } from '../../../src/status/details/read-result.ts'
import { createResultReader } from '../../../src/store/sqlite/readers/result-reader.ts'
import { createGate, openParts } from '../../helpers/parts.ts'

const noon = Date.UTC(2026, 0, 31, 12)

const openReads = async (t: Test) => {
  const gate = createGate()
  const parts = await openParts(t, { cache: createMemoryCache({ now: () => 1, random: () => 0 }) })
  const { store, expose } = parts
  const find = async (jobId: string) => {
    await gate.pass()
    return await store.jobs.find(jobId)
  }
  const readResult = createReadResult({ find, expose, now: () => noon, ...createResultReader(parts) })
  return {
    ...parts,
    gate,
    readResult,
    text: async (
      chunks: AsyncIterable<Uint8Array>
    ) => Buffer.concat(await Array.fromAsync(chunks)).toString()
  }
}

const running = `
  INSERT INTO JobExecutionLog (jobId, status, attempt, submittedBy) VALUES ('job-1', 'Running', 1, 'a');
  INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, leaseToken, leaseExpiresAt, resultContentType, resultFileName)
    VALUES ('job-1', 'x', 3, 0, 'l', 1, 'text/csv', 'a.csv');
  INSERT INTO JobResultChunk (jobId, startOffset, bytes) VALUES ('job-1', 0, CAST('abc' AS BLOB))`

const succeeded = `
  DELETE FROM JobQueue;
  UPDATE JobExecutionLog SET status = 'Succeeded', expiresAt = '2026-01-31T12:00:10Z';
  INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256) VALUES ('job-1', 'text/csv', 'a.csv', 3, 'c2hh')`

t.test('a result reveals a state: a status that is read after it is not older', async t => {
  const { readStatus, readResult, sql } = await openReads(t)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  await readStatus('job-1', 0)
  sql("UPDATE JobExecutionLog SET status = 'Succeeded', resultUrl = 'https://x.example/r' WHERE jobId = 'job-1'")
  t.match(await readStatus('job-1', 0), { state: 'running' }, 'the cache does not know of it yet')
  t.match(await readResult('job-1'), { kind: 'external', url: 'https://x.example/r', entry: { state: 'succeeded' } })
  t.match(await readStatus('job-1', 0), { state: 'succeeded' })
})

t.test('a partial result reveals a state too', async t => {
  const { readStatus, readResult, sql, text } = await openReads(t)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Queued')")
  t.match(await readStatus('job-1', 0), { state: 'queued' })
  sql(`DELETE FROM JobExecutionLog; ${running}`)
  const partial = await readResult('job-1')
  t.match(partial, {
    kind: 'partial',
    facts: {
      attempt: 1, sizeBytes: 3, contentType: 'text/csv', fileName: 'a.csv'
    },
    entry: { state: 'running' }
  })
  t.equal(partial.kind === 'partial' && await text(partial.read(1, 3)), 'bc')
  t.match(await readStatus('job-1', 0), { state: 'running' })
})

t.test('stored bytes come with the run that made them, and with their time', async t => {
  const { readResult, sql, text } = await openReads(t)
  sql(`${running}; ${succeeded}`)
  const stored = await readResult('job-1')
  t.match(stored, { kind: 'stored', run: 1, facts: { sizeBytes: 3 }, expiry: { at: noon + 10_000, inMs: 10_000 } })
  t.equal(stored.kind === 'stored' && await text(stored.read(0, 3)), 'abc')
  sql('UPDATE JobExecutionLog SET expiresAt = NULL')
  t.match(await readResult('job-1'), { kind: 'stored', expiry: null })
  sql("UPDATE JobExecutionLog SET resultExpiredAt = '2026-01-31T12:00:00Z'")
  t.match(await readResult('job-1'), { kind: 'expired', expiredAt: noon })
})

t.test('whatever happens between the two reads, a partial result belongs to the state and attempt in the response', async t => {
  const changes = {
    'another attempt began': [
      "UPDATE JobExecutionLog SET attempt = 2; UPDATE JobResultChunk SET bytes = CAST('X' AS BLOB)", 'none'
    ],
    'it was released and claimed again': [
      "INSERT INTO JobAttempt (jobId, run, attempt, leaseHash, startedAt) VALUES ('job-1', 2, 1, 'h', 0)", 'none'
    ],
    'it is queued again': ["UPDATE JobExecutionLog SET status = 'Queued'", 'none'],
    'it failed': ["UPDATE JobExecutionLog SET status = 'Failed'", 'none'],
    'it succeeded': [succeeded, 'stored'],
    'more bytes came': [
      "INSERT INTO JobResultChunk (jobId, startOffset, bytes) VALUES ('job-1', 3, CAST('de' AS BLOB))", 'partial'
    ],
    'it is gone': ['DELETE FROM JobExecutionLog', 'none']
  } as const
  for (const [what, [change, kind]] of Object.entries(changes)) {
    await t.test(what, async t => {
      const { gate, readResult, sql } = await openReads(t)
      sql(running)
      gate.shut()
      const looking = readResult('job-1')
      await gate.reached()
      sql(change)
      gate.open()
      const result = await looking
      t.equal(result.kind, kind)
      if (result.kind === 'partial') t.equal(result.facts.sizeBytes, 3)
    })
  }
})

t.test('a job without stored bytes has none to read', async t => {
  const { readResult, sql } = await openReads(t)
  t.match(await readResult('no-such-job'), { kind: 'none', entry: { state: 'absent' } })
  for (const status of ['Queued', 'Running', 'Failed', 'Succeeded']) {
    sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('${status}', '${status}')`)
    t.match(await readResult(status), { kind: 'none', entry: { state: status.toLowerCase() } })
  }
})
