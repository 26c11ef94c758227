import t from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { createReadResult } from '../../src/status/read-result.ts'
import { createResultStore } from '../../src/store/result-store.ts'
import { openParts } from '../helpers/parts.ts'

t.test('a result reveals a state: a status that is read after it is not older', async t => {
  const parts = await openParts(t, { cache: createMemoryCache({ now: () => 1, random: () => 0 }) })
  const { store, expose, readStatus, sql } = parts
  const { read } = createResultStore(parts)
  const readResult = createReadResult({ find: store.find, expose, read })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  await readStatus('job-1', 0)
  sql("UPDATE JobExecutionLog SET status = 'Succeeded', resultUrl = 'https://x.example/r' WHERE jobId = 'job-1'")
  t.match(await readStatus('job-1', 0), { state: 'running' }, 'the cache has not heard of it')
  t.match(await readResult('job-1'), { kind: 'external', url: 'https://x.example/r' })
  t.match(await readStatus('job-1', 0), { state: 'succeeded' })
})
