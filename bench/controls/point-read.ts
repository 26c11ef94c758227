// What a service on Postgres cannot do without: a Fastify route that reads one row by its key, as pg documents it.
import fastify from 'fastify'
import pg from 'pg'
import { address, announce, endOnSigterm, setting } from './lifetime.ts'

const text = `SELECT jobId AS "jobId", status, startTime AS "startTime", endTime AS "endTime", resultUrl AS "resultUrl",
  errorDetails AS "errorDetails" FROM JobExecutionLog WHERE jobId = $1`

type Row = Record<'jobId' | 'status', string>

const pool = new pg.Pool({ connectionString: setting('DATABASE_URL') })
const app = fastify()
app.addHook('onClose', () => pool.end())
app.get<{ Params: { id: string } }>('/:id', async (request, reply) => {
  const { rows: [row] } = await pool.query<Row>({ name: 'find', text, values: [request.params.id] })
  return row ?? await reply.code(404).send({ message: 'no such job' })
})
endOnSigterm(app.server, () => app.close())
announce(await app.listen(address()))
