import type { Service } from '../helpers/service.ts'

/** A row of JobExecutionLog as another engine writes it; what is left out is the database's to fill. */
export type Row = { jobId: string, status: string, [column: string]: string | number | null }

const toLiteral = (value: string | number | null): string => {
  if (value === null) return 'NULL'
  return typeof value === 'number' ? String(value) : `'${value.replaceAll("'", "''")}'`
}

const toInsert = (row: Row): string =>
  `INSERT INTO JobExecutionLog (${Object.keys(row).join(', ')}) VALUES (${Object.values(row).map(toLiteral).join(', ')});`

/** Writes rows as another program does. */
export const insertRows = async (service: Service, ...rows: Row[]): Promise<void> => {
  await service.sql(rows.map(toInsert).join('\n'))
}

/** A row that breaks BR-001, written past the database's CHECK. */
export const forceRow = async (service: Service, row: Row): Promise<void> => {
  await service.sqlUnchecked(toInsert(row))
}

/**
 * From now on no lease, cancellation or run in the queue ends by itself, nor is it extended after an outage: what changes
 * then was changed by a request.
 */
export const freezeQueue = async (service: Service): Promise<void> => {
  const never = 8e15
  await service.sql(`UPDATE JobQueue SET leaseExpiresAt = ${never} WHERE leaseToken IS NOT NULL;
    UPDATE JobQueue SET cancelDueAt = ${never} WHERE cancelDueAt IS NOT NULL;
    UPDATE JobQueue SET deadlineAt = ${never} WHERE deadlineAt IS NOT NULL`)
}

/** An answer whole: status, headers, body; without the date and what concerns the connection alone. */
export const whole = async (answer: Response) => {
  const { date: _, connection: _c, 'keep-alive': _k, ...headers } = Object.fromEntries(answer.headers)
  return { status: answer.status, headers, body: await answer.text() }
}

/** One sample of /metrics; 0 before the first. */
export const metric = async (service: Service, sample: string): Promise<number> => {
  const text = await (await fetch(`${service.url}/metrics`)).text()
  const line = text.split('\n').find(line => line.startsWith(`${sample} `))
  return Number(line?.slice(sample.length + 1) ?? 0)
}

export const storeReads = (service: Service) => metric(service, 'job_status_reads_total{source="store"}')
export const cacheReads = (service: Service) => metric(service, 'job_status_reads_total{source="cache"}')
