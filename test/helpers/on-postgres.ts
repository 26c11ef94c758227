import pg from 'pg'
import t from 'tap'
import { useDatabases } from './databases.ts'
import { startPostgres } from './postgres.ts'

/*
 * Imported by a test file that then imports the tests of another one: every service that they start stands on a
 * database of its own in a Postgres of this process.
 */

const server = await startPostgres(t)
const urls = new Map<string, Promise<string>>()

const urlOf = (path: string): Promise<string> => {
  const known = urls.get(path)
  if (known !== undefined) return known
  const url = server.createDatabase(t)
  urls.set(path, url)
  return url
}

// Rows read as they do from the sqlite3 program: values as they come, and truth as a number.
const types: pg.CustomTypesConfig = {
  getTypeParser: oid => (value: string) => oid === pg.types.builtins.BOOL ? value.replace('t', '1').replace('f', '0') : value
}

const withoutChecks = `DO $$ DECLARE rule text; BEGIN
  FOR rule IN SELECT conname FROM pg_constraint WHERE conrelid = 'JobExecutionLog'::regclass AND contype = 'c' LOOP
    EXECUTE format('ALTER TABLE JobExecutionLog DROP CONSTRAINT %I', rule);
  END LOOP;
END $$`

const sql = async (path: string, statements: string): Promise<string> => {
  const client = new pg.Client({ connectionString: await urlOf(path), types })
  await client.connect()
  try {
    const answer: pg.QueryArrayResult | pg.QueryArrayResult[] = await client.query({ text: statements, rowMode: 'array' })
    const rows = [answer].flat().flatMap(({ rows }) => rows as Array<Array<string | null>>)
    return rows.map(row => row.map(value => value ?? '').join('|')).join('\n')
  } finally {
    await client.end()
  }
}

useDatabases({
  urlOf,
  sql,
  bytes: bytes => `'\\x${bytes.toString('hex')}'::bytea`,
  sqlUnchecked: (path, statements) =>
    sql(path, `${withoutChecks}; ${statements}`),
  pruneToLastChange: path => sql(path, `DELETE FROM JobChange WHERE version < (SELECT max(version) FROM JobChange);
    UPDATE JobChangePruned SET belowXid = last.xid, belowVersion = last.version FROM JobChange AS last`)
})
