// Express, a token check and a query: the stack of many services, each part used as documented.
import { createSecretKey } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import SqliteDatabase from 'better-sqlite3'
import express, { type RequestHandler } from 'express'
import jsonwebtoken from 'jsonwebtoken'
import { address, announce, endOnSigterm, setting } from '../controls/lifetime.ts'

type Row = {
  jobId: string
  status: string
  startTime: string
  endTime: string | null
  resultUrl: string | null
  errorDetails: string | null
}

// Express reads it when an application is created.
process.env.NODE_ENV = 'production'

const jobCount = Number(setting('JOBS'))
const database = new SqliteDatabase(setting('DATABASE_PATH'))
database.pragma('journal_mode = WAL')
database.exec(`CREATE TABLE JobExecutionLog (
  jobId TEXT PRIMARY KEY, status TEXT NOT NULL, startTime TEXT NOT NULL, endTime TEXT, resultUrl TEXT, errorDetails TEXT
)`)
const insert = database.prepare(
  "INSERT INTO JobExecutionLog (jobId, status, startTime) VALUES (?, 'Running', '2026-01-01T00:00:00.000Z')"
)
database.transaction(() => {
  for (let i = 0; i < jobCount; i++) insert.run(`job-${i}`)
})()
// The statement is prepared once and the key is created once; a secret as text would become a key on each request.
const find = database.prepare<[string], Row>(
  'SELECT jobId, status, startTime, endTime, resultUrl, errorDetails FROM JobExecutionLog WHERE jobId = ?'
)
const key = createSecretKey(Buffer.from(setting('JWT_SECRET')))

const requireToken: RequestHandler = (request, response, next) => {
  const [scheme, token = ''] = request.headers.authorization?.split(' ') ?? []
  try {
    if (scheme !== 'Bearer') throw new Error('no token')
    jsonwebtoken.verify(token, key, { algorithms: ['HS256'] })
  } catch {
    response.status(401).json({ message: 'send a valid token' })
    return
  }
  next()
}

const app = express()
app.disable('x-powered-by')
app.use(requireToken)
app.get('/:jobId', (request, response) => {
  const row = find.get(request.params.jobId)
  if (row === undefined) {
    response.status(404).json({ message: 'no such job' })
    return
  }
  response.json({
    jobId: row.jobId,
    status: row.status,
    startTime: row.startTime,
    endTime: row.endTime,
    resultUrl: row.resultUrl,
    errorDetails: row.errorDetails === null ? null : JSON.parse(row.errorDetails) as unknown
  })
})

const { host, port } = address()
const server = app.listen(port, host)
endOnSigterm(server, async () => {
  await promisify(server.close.bind(server))()
  database.close()
})
await once(server, 'listening')
announce(`http://${host}:${(server.address() as AddressInfo).port}`)
