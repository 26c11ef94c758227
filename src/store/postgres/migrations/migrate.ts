import { type Kysely, sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import type { Tx } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { ServerUnusable } from '../failures.ts'
import { requireTriggers, seeRights } from '../fitness.ts'
import { identity } from '../identity/identity.ts'
import { lockMigrations, renewIncarnation } from '../identity/incarnation.ts'
import * as schema from './0001-schema.ts'
import * as callbackQueues from './0002-callback-queues.ts'
import * as redrawnVersions from './0003-redrawn-versions.ts'

// Migrations only add, so that the previous release can read and write the new schema.
const migrations: Record<string, Migration> = {
  '0001-schema': schema, '0002-callback-queues': callbackQueues, '0003-redrawn-versions': redrawnVersions
}

// The first schema of the search_path.
const findSchema = async (tx: Tx): Promise<string> => {
  const { rows: [current] } = await sql<{ schema: string | null }>`SELECT current_schema() AS schema`.execute(tx)
  const schema = current?.schema ?? null
  if (schema === null) throw new ServerUnusable('its search_path names no schema that exists')
  if (schema !== schema.toLowerCase()) throw new ServerUnusable(`the schema ${schema} has capital letters in its name`)
  return schema
}

const findApplied = async (tx: Tx, schema: string): Promise<string[]> => {
  const table = sql.table(`${schema}.kysely_migration`)
  const { rows: [found] } = await sql<{ isThere: number }>`
    SELECT count(*) AS "isThere" FROM pg_tables WHERE schemaname = ${schema} AND tablename = 'kysely_migration'`.execute(tx)
  if (found?.isThere !== 1) return []
  return (await sql<{ name: string }>`SELECT name FROM ${table}`.execute(tx)).rows.map(({ name }) => name)
}

/*
 * SQLite adopts the table of another program. Here its columns would have to change their types, and what depends on
 * them (views, keys, rights) would be lost, so its owner copies the rows: docs/foreign-rows.md has the statements.
 */
const requireNoOthers = async (tx: Tx, schema: string, applied: readonly string[]): Promise<void> => {
  if (applied.some(name => name in migrations)) return
  if (applied.length > 0) {
    throw new ServerUnusable(`the table kysely_migration in its schema ${schema} belongs to another program: ` +
      'name a schema of its own for the service, with search_path in the URL')
  }
  const { rows: [found] } = await sql`
    SELECT 1 FROM pg_class WHERE relnamespace = ${schema}::regnamespace AND relname = 'jobexecutionlog'`.execute(tx)
  if (found === undefined) return
  throw new ServerUnusable(`its schema ${schema} has a JobExecutionLog of another program, which the service does not ` +
    'adopt on Postgres: rename it, start the service, and copy its rows as docs/foreign-rows.md says')
}

// Where it may not, Kysely makes another statement in the transaction that has failed, and reports that one's error.
const requireMayCreate = async (tx: Tx, schema: string): Promise<void> => {
  const { rows: [found] } = await sql<{ mayCreate: boolean, role: string }>`
    SELECT has_schema_privilege(${schema}, 'CREATE') AS "mayCreate", current_user AS role`.execute(tx)
  if (found === undefined || found.mayCreate) return
  throw new ServerUnusable(`the role ${found.role} may not create tables in the schema ${schema}${seeRights}`)
}

const applyPending = async (tx: Tx, schema: string): Promise<void> => {
  const applied = await findApplied(tx, schema)
  await requireNoOthers(tx, schema, applied)
  if (applied.some(name => !(name in migrations))) {
    throw new ServerUnusable('a newer release of the service has migrated it')
  }
  if (applied.length === Object.keys(migrations).length) return
  await requireMayCreate(tx, schema)
  const migrator = new Migrator({
    db: tx, provider: { getMigrations: () => Promise.resolve(migrations) }, migrationTableSchema: schema
  })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw error instanceof Error ? error : new Error('the migration failed', { cause: error })
}

/*
 * Another identity than at the last start: a dump was restored, or a replica promoted that may lack commits. Versions
 * may then be drawn twice, so the incarnation is renewed. Returns whether it was.
 */
const renewIfReplaced = async (tx: Tx): Promise<boolean> => {
  const { rows: [found] } = await sql<{ value: string | null }>`SELECT ${identity} AS value`.execute(tx)
  const value = found?.value ?? null
  const row = await tx.selectFrom('ServiceState').select('value').where('name', '=', 'identity').executeTakeFirst()
  if (value === null || row?.value === value) return false
  await tx.insertInto('ServiceState').values({ name: 'identity', value })
    .onConflict(conflict => conflict.column('name').doUpdateSet({ value })).execute()
  if (row === undefined) return false
  await renewIncarnation(tx)
  return true
}

/**
 * Migrates the schema to this release, as a whole or not at all, and renews the incarnation if the database was restored
 * or replaced since the last start. Returns whether it did. `db`: on connections without time limits. Throws
 * ServerUnusable, and what Postgres throws.
 */
export const migrate = (db: Kysely<Tables>): Promise<boolean> => db.transaction().execute(async tx => {
  await lockMigrations(tx)
  await applyPending(tx, await findSchema(tx))
  // A start that ends here must not have renewed the incarnation: the next one could no longer say so.
  await requireTriggers(tx)
  return await renewIfReplaced(tx)
})
