import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { builtinModules } from 'node:module'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { createConnection, type RawAnswer } from '../../test/helpers/raw-http.ts'
import { startService } from '../../test/helpers/service.ts'
import { bearer, secret } from '../../test/helpers/tokens.ts'
import { readAnswer } from '../answer.ts'
import { toRequest } from '../requests.ts'

const startControl = async (t: Test, name: string, env: Record<string, string> = {}) => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, `bench/controls/${name}.ts`], {
    env: { ...process.env, JWT_SECRET: secret, PORT: '0', ...env }, stdio: ['ignore', 'pipe', 'inherit']
  })
  const exit = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line') as Promise<[string]>,
    exit.then(([code]) => { throw new Error(`the control exited with ${code}`) })
  ])
  const { url } = JSON.parse(line) as { url: string }
  return { child, exit, url }
}

const exchange = async (url: string, request: Buffer): Promise<RawAnswer> => {
  const connection = createConnection(Number(new URL(url).port))
  const exchanged = await connection.exchange(request)
  connection.close()
  if (exchanged.kind !== 'answered') throw new Error(exchanged.kind)
  return exchanged.answer
}

for (const name of ['bare', 'jwt']) {
  t.test(`${name} returns the same bytes as the service`, async t => {
    const service = await startService(t)
    await service.sql('INSERT INTO JobExecutionLog (jobId, status, startTime) ' +
      "VALUES ('job-4711', 'Running', '2026-01-01T00:00:00.000Z')")
    const expected = await service.ask('/api/v1/jobs/job-4711')
    const control = await startControl(t, name)
    const answer = await fetch(control.url, { headers: bearer() })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('content-type'), expected.headers.get('content-type'))
    t.equal(await answer.text(), await expected.text())
  })
}

t.test('bare-same sends the status code, the headers and as many bytes as the service', async t => {
  const service = await startService(t)
  await service.sql('INSERT INTO JobExecutionLog (jobId, status, startTime) ' +
    "VALUES ('job-4711', 'Running', '2026-01-01T00:00:00.000Z')")
  const found = await service.ask('/api/v1/jobs/job-4711')
  const { authorization } = bearer()
  for (const [path, headers] of [
    ['/api/v1/jobs/job-4711', { authorization }],
    ['/api/jobs/job-4711/status', { authorization }],
    ['/api/v1/jobs/job-4711', { authorization, 'if-none-match': found.headers.get('etag') ?? '' }],
    ['/api/v1/jobs/absent', { authorization }],
    ['/api/v1/jobs/job-4711', {}]
  ] as const) {
    const request = (url: string, path: string) => toRequest('GET', url, path, { ...headers })
    const answer = await readAnswer(service.url, request(service.url, path))
    const control = await startControl(t, 'bare-same', { ANSWER: JSON.stringify(answer) })
    const [expected, sent] = await Promise.all([
      exchange(service.url, request(service.url, path)), exchange(control.url, request(control.url, '/'))
    ])
    t.match(sent, { status: expected.status, length: expected.length, body: expected.body })
    const values = ({ headers }: RawAnswer) => headers.filter(([name]) => name !== 'date').toSorted()
    t.same(values(sent), values(expected))
  }
})

t.test('a control exits with 0 on SIGTERM while clients keep their connections open', async t => {
  const control = await startControl(t, 'bare')
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => { agent.destroy() })
  const [answer] = await once(get(control.url, { agent }), 'response')
  answer.resume()
  await once(answer, 'end')
  control.child.kill('SIGTERM')
  control.child.kill('SIGTERM')
  t.same(await control.exit, [0, null])
})

t.test('jwt rejects a missing, an unsigned and an expired token', async t => {
  const { url } = await startControl(t, 'jwt')
  const { authorization } = bearer()
  const [header, payload] = authorization.split('.')
  for (const headers of [{}, { authorization: `${header}.${payload}.` }, bearer({ expiresIn: -1000 })]) {
    const answer = await fetch(url, { headers: new Headers(headers) })
    t.equal(answer.status, 401)
    await answer.body?.cancel()
  }
})

type Entry = {
  version: string
  integrity?: string
  resolved?: string
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
}

const readJson = <Shape>(path: string): Shape => JSON.parse(readFileSync(path, 'utf8')) as Shape

t.test('the packages of the peers', async t => {
  const manifest = readJson<Entry & { overrides: Record<string, string> }>('bench/peers/package.json')
  const { packages } = readJson<{ packages: Record<string, Entry> }>('bench/peers/package-lock.json')
  const named = { ...manifest.dependencies, ...manifest.devDependencies }

  t.test('are pinned to the locked version', async t => {
    for (const [name, version] of Object.entries(named)) {
      t.equal(packages[`node_modules/${name}`]?.version, version, name)
    }
    t.same({ ...packages['']?.dependencies, ...packages['']?.devDependencies }, named)
  })

  t.test('have the same version as in the service, if both use them', async t => {
    const service = readJson<{ packages: Record<string, Entry> }>('package-lock.json').packages
    for (const name of ['fastify', '@fastify/jwt', 'fast-jwt', 'better-sqlite3', 'ioredis']) {
      t.ok(packages[`node_modules/${name}`]?.version, name)
      t.equal(packages[`node_modules/${name}`]?.version, service[`node_modules/${name}`]?.version, name)
    }
  })

  t.test('can be installed from any registry: each has an integrity and no URL in the lock file', async t => {
    for (const [path, { integrity, resolved }] of Object.entries(packages)) {
      if (path === '') continue
      t.match(integrity, /^sha512-/, path)
      t.equal(resolved, undefined, path)
    }
  })

  t.test('are exactly the packages that the peers import', async t => {
    const sources = readdirSync('bench/peers').filter(name => name.endsWith('.ts'))
      .map(name => readFileSync(`bench/peers/${name}`, 'utf8')).join('\n')
    const imported = Array.from(sources.matchAll(/^import .* from '([^.'][^']*)'$/gm), match => match[1] ?? '')
      .filter(name => !builtinModules.includes(name.replace('node:', '')))
    // BullMQ loads the Redis client without an import in the peer.
    t.same([...new Set([...imported, 'ioredis'])].toSorted(), Object.keys(manifest.dependencies ?? {}).toSorted())
  })
})
