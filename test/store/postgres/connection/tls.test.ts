import t, { type Test } from 'tap'
import { parseConnectionUrl } from '../../../../src/store/postgres/connection/connection-url.ts'
import { copyOut } from '../../../../src/store/postgres/connection/driver.ts'
import { createPools, type Pools } from '../../../../src/store/postgres/connection/pools.ts'
import { startPostgres } from '../../../helpers/postgres.ts'
import { makeCertificates, makeOpenFolder } from './certificates.ts'

const { root, cert, key } = makeCertificates(makeOpenFolder(t))
const server = await startPostgres(t, ['ssl=on', `ssl_cert_file=${cert}`, `ssl_key_file=${key}`])

const openPools = (t: Test, host: string, search: string, port = server.port): Pools => {
  const pools = createPools(parseConnectionUrl(`postgres://postgres@${host}:${port}/postgres?${search}`))
  t.teardown(async () => { await Promise.all(Object.values(pools).map(({ close }) => close())) })
  return pools
}

const isEncrypted = async (t: Test, host: string, search: string, port?: number): Promise<boolean> => {
  const pools = openPools(t, host, search, port)
  const client = await pools.reads.connect()
  try {
    const { rows: [row] } = await client.query<{ ssl: boolean }>('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
    return row?.ssl ?? false
  } finally {
    client.release()
  }
}

const ofRoot = `sslrootcert=${root}`

t.test('connections are encrypted as the URL says', async t => {
  t.equal(await isEncrypted(t, 'localhost', ''), false)
  t.equal(await isEncrypted(t, 'localhost', 'sslmode=disable'), false)
  t.equal(await isEncrypted(t, '127.0.0.1', 'sslmode=require'), true, 'whoever it is')
  t.equal(await isEncrypted(t, '127.0.0.1', `sslmode=verify-ca&${ofRoot}`), true, 'whatever its name')
  t.equal(await isEncrypted(t, 'localhost', `sslmode=verify-full&${ofRoot}`), true)
})

t.test('the rows of a COPY arrive over an encrypted connection', async t => {
  const { reads } = openPools(t, 'localhost', `sslmode=verify-full&${ofRoot}`)
  const bytes = "decode(repeat('5a', 200000), 'hex')"
  for (let round = 0; round < 2; round++) {
    const rows = await copyOut(reads, `COPY (SELECT ${bytes} UNION ALL SELECT ${bytes}) TO STDOUT (FORMAT binary)`)
    t.ok(rows[1]?.subarray(6).equals(Buffer.alloc(200_000, 'Z')))
    t.equal(rows.length, 3)
  }
})

t.test('a server that does not prove who it is is not used', async t => {
  const lost = { name: 'ConnectionLost' }
  await t.rejects(isEncrypted(t, '127.0.0.1', `sslmode=verify-full&${ofRoot}`), lost, 'another name')
  await t.rejects(isEncrypted(t, 'localhost', 'sslmode=verify-full'), lost, 'an authority that is not known')
  await t.rejects(isEncrypted(t, 'localhost', 'sslrootcert=system'), lost, 'an authority that is not known, without a mode')
  await t.rejects(isEncrypted(t, 'localhost', `sslmode=require&sslrootcert=${cert}`), lost, 'another authority')
})

t.test('a server without encryption is not used where the URL asks for it', async t => {
  const plain = await startPostgres(t)
  await t.rejects(isEncrypted(t, 'localhost', 'sslmode=require', plain.port), {
    name: 'ConnectionLost', message: /does not support SSL/
  })
})
