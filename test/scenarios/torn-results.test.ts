import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { bearer } from '../helpers/tokens.ts'

const chunks = 640

t.test('a result whose first bytes cannot be read is a failure, without the headers of the result', async t => {
  const service = await startService(t, { WORKERS: '0' })
  await service.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('empty', 'Succeeded');
    INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256) VALUES ('empty', 'text/csv', 'big.csv', 10, 'AAAA')`)
  const answer = await service.ask('/api/v1/jobs/empty/result')
  t.equal(answer.status, 500)
  for (const name of ['etag', 'repr-digest', 'content-disposition']) t.notOk(answer.headers.has(name), name)
  t.match(await answer.json(), { code: 'INTERNAL' })
})

t.test('a result that is deleted while it is read ends with the connection, never with bytes of another answer', async t => {
  const service = await startService(t, { WORKERS: '0' })
  await service.sql(`INSERT INTO JobExecutionLog (jobId, status, resultUrl) VALUES ('big', 'Succeeded', '/api/v1/jobs/big/result');
    INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256) VALUES ('big', 'application/octet-stream', 'big.bin', ${chunks} * 65536, 'AAAA');
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${chunks - 1})
      INSERT INTO JobResultChunk (jobId, startOffset, bytes) SELECT 'big', i * 65536, zeroblob(65536) FROM n`)
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  await once(socket, 'connect')
  socket.write(`GET /api/v1/jobs/big/result HTTP/1.1\r\nhost: x\r\nauthorization: ${bearer().authorization}\r\n\r\n`)
  const [head] = await once(socket, 'data') as [Buffer]
  socket.pause()
  t.match(head.toString('latin1'), new RegExp(`^HTTP/1.1 200 OK[^]*content-length: ${chunks * 65536}\r\n`))
  await service.sql("DELETE FROM JobExecutionLog WHERE jobId = 'big'")
  let bytes = head.length
  socket.on('data', data => { bytes += data.length })
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  socket.resume()
  await closed
  t.ok(bytes < chunks * 65536, 'cut short, and seen to be')
  t.equal((await service.ask('/livez')).status, 200)
})
