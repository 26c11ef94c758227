import t from 'tap'
import { databaseNameOf, requireSqlite, sqlitePathOf } from '../../../src/store/open/database-url.ts'

const names = [
  ['sqlite:data/jobs.db', 'data/jobs.db'],
  ['sqlite:/a?b@c.db', '/a?b@c.db'],
  ['postgres://localhost/jobs', 'postgres://localhost/jobs'],
  ['postgresql://user:pass@a:1,b:2/jobs?sslmode=require&password=other', 'postgresql://a:1,b:2/jobs'],
  ['postgres://u:p@[::1]:7000,b/jobs', 'postgres://[::1]:7000,b/jobs'],
  ['postgres://', 'postgres://'],
  ['postgres:///jobs?host=/run', 'postgres:///jobs'],
  // Passwords that should have been encoded.
  ['postgres://user:p@ss/w@host/jobs', 'postgres://host/jobs'],
  ['postgres://user:S3c/ret@host', 'postgres://host'],
  ['postgres://user:S3cret?tail@host/jobs', 'postgres://…'],
  ['postgres://user:12345?tail@host/jobs', 'postgres://…'],
  ['postgres://user:p@S3cret?tail@host/jobs', 'postgres://…'],
  ['postgres://user:12345#tail@host/jobs', 'postgres://…'],
  ['postgres://host/jobs?password=S3c@ret', 'postgres://…'],
  // A password, and no host.
  ['postgres://user:S3cret/jobs', 'postgres://…'],
  ['user:S3cret', '…']
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
