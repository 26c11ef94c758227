/*
 * What a move copies from one database to another: every column of every table of the record, the queue, the runs, the
 * bytes, the callbacks and the keys. The change log, the agreement on the cache and the incarnation stay behind: they
 * belong to one database. test/store/move/moved-tables.test.ts compares the list with both schemas.
 */

/** The types of Postgres that the columns have there. */
export type ColumnType = 'text' | 'int8' | 'int2' | 'float8' | 'bytea'

export type MovedColumn = { name: string, type: ColumnType }

/** `orderBy`: columns that name a row, or all of them. `idColumn`: which job, or which bytes, a row belongs to. */
export type MovedTable = {
  name: string, columns: readonly MovedColumn[], orderBy: readonly string[], idColumn: string
}

const columnTypes = ['text', 'int8', 'int2', 'float8', 'bytea'] as const

type Names = Partial<Record<ColumnType, string>>

const table = (name: string, orderBy: string, names: Names, idColumn = 'jobId'): MovedTable => ({
  name,
  columns: columnTypes.flatMap(type =>
    (names[type] ?? '').split(' ').filter(column => column !== '').map(column => ({ name: column, type }))),
  orderBy: orderBy.split(' '),
  idColumn
})

export const movedTables: readonly MovedTable[] = [
  // In the order of insertion: the newest jobs, which lists begin with, then lie beside each other.
  table('JobExecutionLog', 'seq jobId', {
    text: 'jobId type status startTime endTime resultUrl errorDetails tenant createdAt submittedBy progressStage ' +
      'progressMessage cancelRequestedAt cancelledAt expiresAt resultExpiredAt',
    int8: 'version attempt etaSeconds createdMs endedMs seq',
    int2: 'hasPartialResult',
    float8: 'progressPercent progressDone progressTotal'
  }),
  table('JobTombstone', 'jobId', { text: 'jobId tenant status expiredAt', int8: 'version' }),
  table('JobQueue', 'jobId', {
    text: 'jobId type leaseToken leaseHolder tenant resultContentType resultFileName',
    int8: 'maxAttempts timeoutMs availableAt leaseExpiresAt leaseMs deadlineAt cancelDueAt resultRetentionMs seq'
  }),
  table('JobAttempt', 'jobId run', {
    text: 'jobId leaseHash outcome failureCode failureMessage endReport', int8: 'run attempt startedAt endedAt'
  }),
  table('JobCallback', 'id', {
    text: 'id jobId tenant url host secret state leaseToken lastError body stateBefore',
    int8: 'addedAt nextTryAt tries lastStatus lastTriedAt redeliveredAt',
    int2: 'isGone'
  }),
  table('JobInput', 'jobId', { text: 'jobId input access inputId rawContentType', int8: 'rawSizeBytes' }),
  table('JobInputChunk', 'inputId startOffset', { text: 'inputId', int8: 'startOffset', bytea: 'bytes' }, 'inputId'),
  table('JobResult', 'jobId', { text: 'jobId contentType fileName sha256 inlineJson', int8: 'sizeBytes' }),
  table('JobResultChunk', 'jobId startOffset', { text: 'jobId', int8: 'startOffset', bytea: 'bytes' }),
  table('OrphanedBytes', 'holder id', { text: 'holder id', int8: 'forgetAt' }, 'id'),
  table('SanitizationEvent', 'jobId at kind count', { text: 'jobId kind at', int8: 'count' }),
  table('IdempotencyKey', 'tenant key', { text: 'tenant key requestHash jobId', int8: 'createdAt' })
]
