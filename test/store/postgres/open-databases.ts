import type { Test } from 'tap'
import { type Database, openDatabase } from '../../../src/store/postgres/database.ts'

/** The query builders of the service on a database, closed when the test ends. */
export const openDatabases = (t: Test, url: string): Database => {
  const database = openDatabase(url)
  t.teardown(() => database.close())
  return database
}
