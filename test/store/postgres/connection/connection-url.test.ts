import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { databaseNameOf } from '../../../../src/store/open/database-url.ts'
import { parseConnectionUrl } from '../../../../src/store/postgres/connection/connection-url.ts'

const parse = (rest: string) => parseConnectionUrl(`postgres://${rest}`)

t.test('reads user, password, hosts and database', async t => {
  t.match(parseConnectionUrl('postgresql://al%20ice:p%40%3Aw:x@db.internal:6000/my%2Fjobs'), {
    hosts: [{ host: 'db.internal', port: 6000 }],
    options: '',
    settings: { user: 'al ice', password: 'p@:w:x', database: 'my/jobs', ssl: false }
  })
  t.strictSame(parse('').hosts, [{ host: 'localhost', port: 5432 }])
  t.notOk('user' in parse('localhost/jobs').settings, 'the driver has its own default')
  t.strictSame(parse('a,b:6000,[::1]:7000,[::2]/jobs').hosts, [
    { host: 'a', port: 5432 }, { host: 'b', port: 6000 }, { host: '::1', port: 7000 }, { host: '::2', port: 5432 }
  ])
  t.strictSame(parse('/jobs?host=/run/postgresql').hosts, [{ host: '/run/postgresql', port: 5432 }])
  t.strictSame(parse('%2Frun%2Fpostgresql/jobs').hosts, [{ host: '/run/postgresql', port: 5432 }])
  t.strictSame(parse('/jobs?host=a,b&port=6000').hosts, [{ host: 'a', port: 6000 }, { host: 'b', port: 6000 }])
  t.strictSame(parse('/jobs?host=a,b&port=6000,').hosts, [{ host: 'a', port: 6000 }, { host: 'b', port: 5432 }])
  t.strictSame(parse('?port=6000').hosts, [{ host: 'localhost', port: 6000 }])
  t.match(parse('?user=u&password=p&dbname=d').settings, { user: 'u', password: 'p', database: 'd' })
})

t.test('reads the settings of the session', async t => {
  t.equal(parse('a?options=-c%20work_mem%3D5MB').options, '-c work_mem=5MB')
  t.equal(parse('a?search_path=jobs,%20public').options, '-c search_path=jobs,\\ public')
  t.equal(parse('a?options=-c%20a%3Db&search_path=jobs').options, '-c a=b -c search_path=jobs')
  t.equal(parse('a').settings.application_name, 'job-status-service')
  t.equal(parse('a?application_name=mine').settings.application_name, 'mine')
  t.equal(parse('a?fallback_application_name=mine').settings.application_name, 'mine')
  t.equal(parse('a?fallback_application_name=other&application_name=mine').settings.application_name, 'mine')
  t.equal(parse('a?connect_timeout=7').connectMs, 7000)
  t.equal(parse('a?keepalives=1&keepalives_idle=60').settings.keepAliveInitialDelayMillis, 60_000)
  t.doesNotThrow(() => parse('a?target_session_attrs=primary&client_encoding=UTF8&gssencmode=prefer&load_balance_hosts=disable'))
})

t.test('reads how connections are encrypted', async t => {
  const files = t.testdir({ 'root.crt': 'root', 'own.crt': 'own', 'own.key': 'key' })
  const root = join(files, 'root.crt')
  const ssl = (search: string) => parse(`a?${search}`).settings.ssl
  t.equal(ssl('sslmode=disable'), false)
  t.strictSame(ssl('sslmode=require'), { rejectUnauthorized: false })
  t.match(ssl(`sslmode=require&sslrootcert=${root}`), { ca: Buffer.from('root'), rejectUnauthorized: true })
  for (const mode of ['require', 'verify-ca']) {
    const options = ssl(`sslmode=${mode}&sslrootcert=${root}`) as { checkServerIdentity: () => undefined }
    t.equal(options.checkServerIdentity(), undefined, 'whatever its name')
  }
  t.strictSame(ssl(`sslmode=verify-full&sslrootcert=${root}&sslcert=${files}/own.crt&sslkey=${files}/own.key` +
    '&sslpassword=p&ssl_min_protocol_version=TLSv1.3'), {
    ca: Buffer.from('root'),
    cert: Buffer.from('own'),
    key: Buffer.from('key'),
    passphrase: 'p',
    minVersion: 'TLSv1.3',
    rejectUnauthorized: true
  })
  t.strictSame(ssl('sslmode=verify-full'), { rejectUnauthorized: true })
  t.strictSame(ssl('sslmode=verify-full&sslrootcert=system'), { rejectUnauthorized: true })
  t.strictSame(ssl('sslrootcert=system'), { rejectUnauthorized: true }, 'which implies verify-full')
})

t.test('finds the password in a passfile', async t => {
  const path = join(t.testdir(), 'pass')
  writeFileSync(path, '# a comment\nother:5432:*:*:no\n\na:5432:jobs:al\\:ice:p\\\\w\nlocalhost:*:*:*:of the socket\n', { mode: 0o600 })
  const read = async (rest: string) => {
    const { settings: { password, user, database }, hosts: [host] } = parse(`${rest}?passfile=${path}`)
    if (typeof password !== 'function' || host === undefined) throw new Error('no function')
    // As the driver calls it.
    return await (password as (connection: object) => Promise<string>)({ ...host, user, database })
  }
  t.equal(await read('al%3Aice@a/jobs'), 'p\\w')
  t.equal(await read('bob@%2Frun/jobs'), 'of the socket')
  await t.rejects(read('bob@a/jobs'), { message: `passfile ${path} has no password for this connection` })
  chmodSync(path, 0o644)
  t.throws(() => parse(`a?passfile=${path}`), { message: `passfile ${path}: others may read it; its mode must be 0600` })
  t.throws(() => parse(`a?passfile=${path}.none`), { message: /ENOENT/ })
})

const rejected: ReadonlyArray<[rest: string, message: string | RegExp]> = [
  ['a:0/jobs', /^the URL has a port that is not a number from 1 to 65535; in a password, /],
  ['a:x/jobs', /^the URL has a host that is not like name, name:5432 or/],
  ['a:70000', /^the URL has a port that is not a number from 1 to 65535; in a password, /],
  ['[x]:1', /^the URL has a host that is not like name, name:5432 or/],
  ['::1', /^the URL has a host that is not like name, name:5432 or/],
  ['a/b/c', /must be like postgres:/],
  ['p@ss@a/b', /must be like postgres:/],
  ['a/b@c', /must be like postgres:/],
  ['a?b@c', /^the URL has a parameter that is not like name=value; /],
  ['a?=b', /^the URL has a parameter that is not like name=value; /],
  ['a/b#c', /must be like postgres:/],
  ['%zz/b', /% written as %25/],
  ['a/b?host=c', /names its hosts twice/],
  ['?host=a,b&port=1,2,3', 'the URL has 2 hosts and 3 ports'],
  ['a?user=b&user=c', 'the URL has a parameter more than once'],
  ['a?schema=jobs', /^the URL has a parameter that is not supported: /],
  ['a?service=mine', /^the URL has a parameter that is not supported: /],
  ['a?hostaddr=1.2.3.4', /^the URL has a parameter that is not supported: /],
  ['a?target_session_attrs=standby', /^target_session_attrs can only be \w/],
  ['a?load_balance_hosts=random', /^load_balance_hosts can only be \w/],
  ['a?client_encoding=LATIN1', /^client_encoding can only be \w/],
  ['a?gssencmode=require', /^gssencmode can only be \w/],
  ['a?channel_binding=require', /^channel_binding can only be \w/],
  ['a?keepalives=0', /^keepalives can only be \w/],
  ['a?connect_timeout=0', 'connect_timeout must be a number of seconds'],
  ['a?sslmode=prefer', /fall back to a connection without encryption/],
  ['a?sslmode=on', 'sslmode must be one of disable, require, verify-ca, verify-full'],
  ['a?sslmode=disable&sslrootcert=system', /^sslrootcert=system needs sslmode=verify-full: /],
  ['a?sslmode=require&sslrootcert=system', /^sslrootcert=system needs sslmode=verify-full: /],
  ['a?sslmode=verify-ca&sslrootcert=system', /^sslrootcert=system needs sslmode=verify-full: /],
  ['a?sslmode=verify-ca', /^sslmode=verify-ca needs sslrootcert: /],
  ['a?sslrootcert=/none', /^sslrootcert \/none: ENOENT/],
  ['a?sslpassword=p', 'the URL has certificates, and no sslmode that uses them'],
  ['a?sslmode=require&ssl_min_protocol_version=SSLv3', /^ssl_min_protocol_version must be one of/]
]

t.test('rejects what cannot be honoured, in one line without a secret', async t => {
  for (const [rest, message] of rejected) t.throws(() => parse(rest), { name: 'ServerUnusable', message }, rest)
})

// Every word that the code could take as a parameter.
const wordsInCode = ['connection-url', 'tls-options'].flatMap(name =>
  readFileSync(`src/store/postgres/connection/${name}.ts`, 'utf8').match(/(?<=')[a-z_]+(?=')/g) ?? [])

const isAccepted = (name: string): boolean => {
  try {
    parse(`?${name}=1`)
    return true
  } catch (error) {
    return !/a parameter that is not supported: docs\/postgres\.md lists those/.test((error as Error).message)
  }
}

t.test('docs/postgres.md lists the parameters that are accepted, and no others', async t => {
  const [, section = ''] = readFileSync('docs/postgres.md', 'utf8').split('\n## The URL\n')
  const rows = (section.split('\n## ', 1)[0] ?? '').split('\n').filter(line => line.startsWith('| '))
  const listed = rows.flatMap(row => row.split(' | ', 1)[0]?.match(/(?<=`)[a-z_]+(?=`)/g) ?? [])
  const accepted = [...new Set([...wordsInCode, ...listed])].filter(isAccepted)
  t.ok(accepted.length > 20, 'the sources were read')
  t.same(listed.toSorted(), accepted.toSorted())
})

const withSecrets = [
  'jobs:S3cret?tail@db/jobs', 'jobs:1234?tail@db/jobs', 'jobs:1234?S3cret=a@db/jobs', 'jobs:S3cret/tail@db',
  'jobs:1234/S3cret@db', 'jobs:p@S3cret@db', 'jobs:S3cret#tail@db', 'jobs:S3cret%@db', 'jobs:S3cret',
  ...['S3cret', 'S3cret=cd', 'S3cret=c&S3cret=d', 'sslmode=S3cret', 'channel_binding=S3cret', 'connect_timeout=S3cret']
    .map(rest => `db/jobs?password=ab&${rest}`),
  '/jobs?password=ab&port=S3cret'
]

t.test('no error has a part of a password that should have been encoded', async t => {
  for (const rest of withSecrets) {
    const url = `postgres://${rest}`
    t.throws(() => parseConnectionUrl(url), { message: /^(?!.*(S3c|ret|1234|tail))/ }, rest)
    t.notMatch(databaseNameOf(url), /S3c|ret|1234|tail/, rest)
  }
})
