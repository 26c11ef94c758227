import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import t, { type Test } from 'tap'
import { createRedisCache } from '../../src/cache/redis-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { makeCertificate } from '../helpers/receiver.ts'
import { freePort, replyMsMax, startRedis } from '../helpers/redis.ts'
import { launchRedis } from '../helpers/redis-members.ts'
import { until } from '../helpers/until.ts'

/*
 * Servers that take TLS connections, with a certificate that this process does not trust at first.
 */

const folder = t.testdir()
makeCertificate(folder)
const cert = join(folder, 'cert.pem')
const tls = { 'tls-cert-file': cert, 'tls-key-file': join(folder, 'key.pem'), 'tls-ca-cert-file': cert, 'tls-auth-clients': 'no' }

const startTlsRedis = async (t: Test, more: readonly string[] = []) => {
  const port = await freePort()
  const settings = Object.entries({ 'tls-port': String(port), ...tls }).flatMap(([name, value]) => [`--${name}`, value])
  const { client } = await startRedis(t, [...settings, ...more])
  await client.config('SET', 'requirepass', 's3cret')
  return { port, client }
}

const startTlsCluster = async (t: Test) => {
  const { port, client } = await startTlsRedis(t, [
    '--cluster-enabled', 'yes', '--tls-cluster', 'yes', '--cluster-port', String(await freePort()), '--dir', t.testdir()
  ])
  await client.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16383)
  return port
}

const startTlsSentinel = async (t: Test) => {
  const { port: masterPort } = await startTlsRedis(t)
  const port = await freePort()
  const path = join(folder, 'sentinel.conf')
  writeFileSync(path, [
    'port 0', `tls-port ${port}`, 'bind 127.0.0.1', 'tls-replication yes',
    ...Object.entries(tls).map(([name, value]) => `${name} ${value}`), `sentinel monitor jobs 127.0.0.1 ${masterPort} 1`,
    'sentinel auth-pass jobs s3cret', ''
  ].join('\n'))
  const child = await launchRedis(folder, [path, '--sentinel'])
  t.teardown(() => { child.kill('SIGKILL') })
  return port
}

const kinds: Record<string, (t: Test) => Promise<string>> = {
  'one server': async t => `rediss://:s3cret@127.0.0.1:${(await startTlsRedis(t)).port}`,
  'a Sentinel and its master': async t => `rediss+sentinel://:s3cret@127.0.0.1:${await startTlsSentinel(t)}/jobs`,
  'a cluster': async t => `rediss+cluster://:s3cret@127.0.0.1:${await startTlsCluster(t)}`
}

const reasonOf = async (t: Test, url: string): Promise<string> => {
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(url), incarnation: 'i', random: () => 0, onError: () => {}, replyMsMax
  })
  t.teardown(cache.close)
  return await cache.identify().then(() => 'none', (error: Error) => error.message)
}

const trusted = getCACertificates('default')

for (const [name, start] of Object.entries(kinds)) {
  t.test(`${name} is used over TLS, and not if the certificate is unknown`, async t => {
    const url = await start(t)
    t.match(await reasonOf(t, url), /certificate|Connection is closed/)
    setDefaultCACertificates([...trusted, readFileSync(cert, 'utf8')])
    t.teardown(() => { setDefaultCACertificates(trusted) })
    t.equal(await until(async () => await reasonOf(t, url) === 'none', 'the connection'), true)
    t.not(await reasonOf(t, url.replace('rediss', 'redis')), 'none', 'nor without TLS')
  })
}
