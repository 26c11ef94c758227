import t from 'tap'
import { databaseNameOf, requireSqlite, sqlitePathOf } from '../../src/store/database-url.ts'

const names = [
  ['sqlite:data/jobs.db', 'data/jobs.db'],
  ['sqlite:/a?b@c.db', '/a?b@c.db'],
  ['postgres://localhost/jobs', 'postgres://localhost/jobs'],
  ['postgresql://user:pass@a:1,b:2/jobs?sslmode=require&password=other', 'postgresql://a:1,b:2/jobs'],
  // A password that should have been encoded.
  ['postgres://user:p@ss/w@host/jobs', 'postgres://host/jobs']
] as const

for (const [url, name] of names) {
  t.test(`${name} is named without secrets`, async t => {
    t.equal(databaseNameOf(url), name)
    t.equal(sqlitePathOf(url), url.startsWith('sqlite:') ? name : null)
  })
}

t.test('what only SQLite can do says so for any other database', async t => {
  t.equal(requireSqlite('sqlite:a.db', 'why'), 'a.db')
  t.throws(() => requireSqlite('postgres://u:p@host/jobs', 'pg_dump writes backups of it'), {
    message: 'DATABASE_URL: cannot use postgres://host/jobs: pg_dump writes backups of it'
  })
})
