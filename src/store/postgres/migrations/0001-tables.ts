/*
 * The tables. What each column means, src/store/tables.ts and the SQLite migrations say.
 *
 * Names are unquoted, here and in the statements of other programs, so the catalog has them in lower case. Texts are
 * compared by their bytes, as on SQLite: ISO times sort by time, and ids by the same order everywhere. `input` and
 * `errorDetails` are text, not jsonb, which rejects \u0000 and lone surrogates and changes what it is given.
 */

const text = 'text COLLATE "C"'

// 85: most updates of a record are progress, which no index has. They stay on the page, and write no index.
const record = `
CREATE TABLE JobExecutionLog (
  jobId ${text} NOT NULL PRIMARY KEY CHECK (jobId ~ '^[A-Za-z0-9._~-]{1,128}$' AND jobId NOT IN ('.', '..')),
  type ${text},
  status ${text} NOT NULL CHECK (status IN ('Queued', 'Running', 'Succeeded', 'Failed')),
  startTime ${text},
  endTime ${text},
  resultUrl ${text},
  errorDetails ${text},
  tenant ${text},
  progressPercent double precision CHECK (progressPercent BETWEEN 0 AND 100),
  createdAt ${text},
  version bigint NOT NULL DEFAULT 0,
  submittedBy ${text},
  attempt bigint NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  progressDone double precision,
  progressTotal double precision,
  progressStage ${text},
  progressMessage ${text},
  etaSeconds bigint,
  cancelRequestedAt ${text},
  cancelledAt ${text} CHECK (cancelledAt IS NULL OR status = 'Failed'),
  expiresAt ${text},
  resultExpiredAt ${text},
  hasPartialResult smallint NOT NULL DEFAULT 0 CHECK (hasPartialResult IN (0, 1)),
  createdMs bigint NOT NULL,
  endedMs bigint,
  seq bigint NOT NULL
) WITH (fillfactor = 85)`

// One sequence for all jobs. JobVersion is no identity of a table: the record, its tombstones and the log draw from it.
const versions = 'CREATE SEQUENCE JobVersion AS bigint'

/*
 * A transaction commits after it has drawn its versions, so a change may become visible after one with a higher
 * version: readers go by snapshots of transactions, for which the log has the (top-level) transaction of each change.
 *
 * The log is pruned below the oldest transaction of a snapshot that is old enough. JobChangeMark has such snapshots.
 * JobChangePruned says to the readers which changes may be missing: those before (belowXid, belowVersion).
 */
const changeLog = [
  `CREATE TABLE JobChange (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    version bigint NOT NULL DEFAULT nextval('JobVersion'),
    jobId ${text} NOT NULL,
    at bigint NOT NULL DEFAULT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    readersBefore ${text},
    readersAfter ${text},
    PRIMARY KEY (xid, version)
  )`,
  `CREATE TABLE JobChangePruned (
    id smallint NOT NULL PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    belowXid xid8 NOT NULL DEFAULT '0',
    belowVersion bigint NOT NULL DEFAULT 0
  )`,
  'INSERT INTO JobChangePruned DEFAULT VALUES',
  'CREATE TABLE JobChangeMark (at bigint NOT NULL PRIMARY KEY, snapshot pg_snapshot NOT NULL)',
  `CREATE TABLE JobTombstone (
    jobId ${text} NOT NULL PRIMARY KEY, tenant ${text}, status ${text} NOT NULL,
    version bigint NOT NULL, expiredAt ${text} NOT NULL
  )`
]

const queue = `
CREATE TABLE JobQueue (
  jobId ${text} NOT NULL PRIMARY KEY,
  type ${text} NOT NULL,
  maxAttempts bigint NOT NULL CHECK (maxAttempts >= 1),
  timeoutMs bigint,
  availableAt bigint NOT NULL,
  leaseToken ${text},
  leaseHolder ${text},
  leaseExpiresAt bigint,
  tenant ${text},
  leaseMs bigint,
  deadlineAt bigint,
  cancelDueAt bigint,
  resultRetentionMs bigint,
  resultContentType ${text},
  resultFileName ${text},
  seq bigint NOT NULL,
  CHECK ((leaseToken IS NULL) = (leaseExpiresAt IS NULL))
)`

// Else a queue of one tenant would look as if an index without the tenant were as good, and a search for the jobs of
// another would read all of it.
const queueStatistics = 'ALTER TABLE JobQueue ALTER tenant SET (n_distinct = -0.1)'

const runs = [
  `CREATE TABLE JobAttempt (
    jobId ${text} NOT NULL,
    run bigint NOT NULL CHECK (run >= 1),
    attempt bigint NOT NULL CHECK (attempt >= 1),
    leaseHash ${text} NOT NULL,
    startedAt bigint NOT NULL,
    endedAt bigint,
    outcome ${text} CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'released', 'lease-lost', 'timed-out')),
    failureCode ${text},
    failureMessage ${text},
    endReport ${text},
    PRIMARY KEY (jobId, run),
    CHECK ((endedAt IS NULL) = (outcome IS NULL)),
    CHECK ((failureCode IS NULL) = (failureMessage IS NULL))
  )`,
  `CREATE TABLE JobCallback (
    id ${text} NOT NULL PRIMARY KEY,
    jobId ${text} NOT NULL,
    tenant ${text} NOT NULL,
    url ${text} NOT NULL,
    host ${text} NOT NULL,
    secret ${text},
    addedAt bigint NOT NULL,
    state ${text} NOT NULL CHECK (state IN ('waiting', 'pending', 'delivered', 'failed')),
    nextTryAt bigint,
    leaseToken ${text},
    tries bigint NOT NULL DEFAULT 0 CHECK (tries >= 0),
    lastStatus bigint,
    lastError ${text},
    lastTriedAt bigint,
    body ${text},
    isGone smallint NOT NULL DEFAULT 0 CHECK (isGone IN (0, 1)),
    stateBefore ${text} CHECK (stateBefore IN ('delivered', 'failed')),
    redeliveredAt bigint,
    CHECK ((state = 'pending') = (nextTryAt IS NOT NULL))
  )`
]

// EXTERNAL: the bytes are mostly compressed already, and a range of them is read without the rest.
const bytes = [
  `CREATE TABLE JobInput (
    jobId ${text} NOT NULL PRIMARY KEY,
    input ${text} NOT NULL,
    access ${text} NOT NULL,
    inputId ${text},
    rawSizeBytes bigint,
    rawContentType ${text}
  )`,
  `CREATE TABLE JobInputChunk (
    inputId ${text} NOT NULL, startOffset bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (inputId, startOffset)
  )`,
  `CREATE TABLE JobResult (
    jobId ${text} NOT NULL PRIMARY KEY,
    contentType ${text} NOT NULL,
    fileName ${text} NOT NULL,
    sizeBytes bigint NOT NULL,
    sha256 ${text} NOT NULL,
    inlineJson ${text}
  )`,
  `CREATE TABLE JobResultChunk (
    jobId ${text} NOT NULL, startOffset bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (jobId, startOffset)
  )`,
  'ALTER TABLE JobInputChunk ALTER bytes SET STORAGE EXTERNAL',
  'ALTER TABLE JobResultChunk ALTER bytes SET STORAGE EXTERNAL',
  `CREATE TABLE OrphanedBytes (
    holder ${text} NOT NULL CHECK (holder IN ('JobInputChunk', 'JobResultChunk')),
    id ${text} NOT NULL, forgetAt bigint NOT NULL, PRIMARY KEY (holder, id)
  )`
]

const ofTheService = [
  `CREATE TABLE SanitizationEvent (
    jobId ${text} NOT NULL, kind ${text} NOT NULL, count bigint NOT NULL CHECK (count > 0), at ${text} NOT NULL
  )`,
  `CREATE TABLE IdempotencyKey (
    tenant ${text} NOT NULL, key ${text} NOT NULL, requestHash ${text} NOT NULL, jobId ${text} NOT NULL,
    createdAt bigint NOT NULL, PRIMARY KEY (tenant, key)
  )`,
  `CREATE TABLE ServiceState (name ${text} NOT NULL PRIMARY KEY, value ${text} NOT NULL)`,
  `INSERT INTO ServiceState (name, value)
    VALUES ('incarnation', substr(replace(gen_random_uuid()::text, '-', ''), 1, 16))`,
  `CREATE TABLE CacheEpoch (
    id smallint NOT NULL PRIMARY KEY CHECK (id = 1),
    name ${text} NOT NULL,
    mode ${text} NOT NULL CHECK (mode IN ('on', 'warm', 'off')),
    runId ${text},
    reason ${text},
    changedAt bigint NOT NULL,
    holdMs bigint NOT NULL,
    flaps bigint NOT NULL,
    CHECK (mode = 'off' OR runId IS NOT NULL)
  )`,
  "INSERT INTO CacheEpoch (id, name, mode, changedAt, holdMs, flaps) VALUES (1, '', 'off', 0, 0, 0)",
  `CREATE TABLE CacheNode (
    node ${text} NOT NULL PRIMARY KEY,
    epoch ${text} NOT NULL,
    mode ${text} NOT NULL CHECK (mode IN ('on', 'warm', 'off')),
    runId ${text},
    beat bigint NOT NULL DEFAULT 0,
    isGone smallint NOT NULL DEFAULT 0 CHECK (isGone IN (0, 1))
  )`
]

/*
 * An index takes no text of more than 2,704 bytes, and other programs write texts of any length: an insertion must not
 * fail for that. So one has the first 257 characters of a tenant, which no token can have, and one only those times of
 * expiry that can be a time. Queries name the same expressions.
 */
const indexes = [
  'JobExecutionLog_seq ON JobExecutionLog (seq)',
  // Lists, newest first: of one tenant, and of all.
  'JobExecutionLog_tenantCreated ON JobExecutionLog (left(tenant, 257), createdMs, seq)',
  'JobExecutionLog_created ON JobExecutionLog (createdMs, seq)',
  // Results that the pruner expires.
  `JobExecutionLog_expires ON JobExecutionLog (expiresAt) WHERE octet_length(expiresAt) <= 128
    AND resultExpiredAt IS NULL AND status = 'Succeeded' AND submittedBy IS NOT NULL`,
  // Finished records, those of other programs apart: the pruner may have to leave these, and must not scan them.
  `JobExecutionLog_endedMs ON JobExecutionLog (endedMs, seq)
    WHERE status IN ('Succeeded', 'Failed') AND submittedBy > ''`,
  `JobExecutionLog_endedMsElsewhere ON JobExecutionLog (endedMs, seq)
    WHERE status IN ('Succeeded', 'Failed') AND coalesce(submittedBy, '') = ''`,
  'JobTombstone_age ON JobTombstone (expiredAt)',
  'JobQueue_free ON JobQueue (type, availableAt, seq) WHERE leaseToken IS NULL',
  'JobQueue_freeOfTenant ON JobQueue (tenant, type, availableAt, seq) WHERE leaseToken IS NULL',
  'JobQueue_leased ON JobQueue (leaseExpiresAt, seq) WHERE leaseToken IS NOT NULL',
  'JobQueue_deadline ON JobQueue (deadlineAt) WHERE deadlineAt IS NOT NULL',
  'JobQueue_cancelDue ON JobQueue (cancelDueAt) WHERE cancelDueAt IS NOT NULL',
  'JobCallback_jobId ON JobCallback (jobId)',
  // What is due: at all, and of one host.
  'JobCallback_due ON JobCallback (nextTryAt) WHERE nextTryAt IS NOT NULL',
  'JobCallback_dueOfHost ON JobCallback (host, nextTryAt) WHERE nextTryAt IS NOT NULL',
  'OrphanedBytes_due ON OrphanedBytes (forgetAt)',
  'SanitizationEvent_jobId ON SanitizationEvent (jobId)',
  'IdempotencyKey_age ON IdempotencyKey (createdAt)'
].map(index => `CREATE INDEX ${index}`)

/** The statements that make the tables and their indexes. */
export const tables: readonly string[] = [
  versions, record, ...changeLog, queue, queueStatistics, ...runs, ...bytes, ...ofTheService, ...indexes
]
