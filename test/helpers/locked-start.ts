import SqliteDatabase from 'better-sqlite3'
import { runService } from '../../src/serve/run-service.ts'
import { sqlitePathOf } from '../../src/store/open/database-url.ts'
import { openStore } from '../../src/store/open/open-store.ts'

/** A service whose database another connection locks after the schema is checked, before the service writes. */
const locks: SqliteDatabase.Database[] = []

await runService({
  parts: {
    openStore: async needs => {
      const opened = await openStore(needs)
      // A connection without a reference would be collected, and its lock with it.
      locks.push(new SqliteDatabase(sqlitePathOf(needs.databaseUrl) ?? '').exec('BEGIN IMMEDIATE'))
      return opened
    }
  }
})
