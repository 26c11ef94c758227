import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../helpers/redis.ts'
import { createServer, initialize, makeFolder } from '../helpers/postgres-server.ts'
import { until } from '../helpers/until.ts'
import { buildImage, type Image } from './build.ts'
import { type Container, isReady, startContainer, token } from './container.ts'
import { makeContext, readCompose, textOf } from './context.ts'
import { parseDockerfile } from './dockerfile.ts'
import { checkCompose, checkManifests, installSchemas } from './schemas.ts'

/*
 * Whether the Dockerfile, compose.yaml and the Kubernetes manifests are right, without Docker: the steps of the
 * Dockerfile are carried out in roots that debootstrap makes, and its command runs there as its user. It needs root on
 * Linux, some minutes, and some 2 GB in the folder for temporary files.
 */

const folder = mkdtempSync(join(tmpdir(), 'image-'))
const containers: Container[] = []
const start = async (image: Image, env: Record<string, string> = {}): Promise<Container> => {
  const container = await startContainer(image, env)
  containers.push(container)
  return container
}

const ok = (name: string): void => { console.log(`ok    ${name}`) }

const build = (): Image => {
  const context = join(folder, 'context')
  mkdirSync(context)
  makeContext(context)
  const log = (line: string) => { console.log(`      ${line}`) }
  return buildImage(parseDockerfile(textOf('Dockerfile')), { folder, context, log })
}

const checkContents = ({ setting, volumes, ports }: Image): void => {
  const inRoot = (path: string) => join(setting.root, setting.cwd, path)
  assert.ok(readdirSync(inRoot('node_modules')).includes('fastify'))
  for (const name of ['typescript', 'tap', 'eslint']) {
    assert.ok(!readdirSync(inRoot('node_modules')).includes(name), name)
  }
  assert.deepEqual(readdirSync(inRoot('.')).sort(), [
    'LICENSE', 'README.md', 'data', 'dist', 'node_modules', 'package-lock.json', 'package.json'
  ])
  assert.deepEqual(volumes, [join(setting.cwd, 'data')])
  assert.deepEqual(ports, ['3000'])
  assert.equal(statSync(inRoot('data')).uid, 1000)
  // Nothing that is run can be changed by who runs it.
  assert.equal(execFileSync('find', [inRoot('.'), '-user', '1000'], { encoding: 'utf8' }).trim(), inRoot('data'))
  assert.ok(!readdirSync(join(setting.root, 'tmp')).includes('service.tgz'))
  const size = (path: string) => Number(execFileSync('du', ['-sm', path], { encoding: 'utf8' }).split('\t', 1)[0])
  console.log(`      ${size(inRoot('.'))} MB in ${setting.cwd}, ${size(setting.root)} MB in all`)
  ok('the image has the package and the packages that it runs with, and only data/ can be written')
}

const checkProcess = async (image: Image): Promise<void> => {
  const beganAt = performance.now()
  const container = await start(image)
  assert.equal(container.health(), 1, 'not healthy before it listens')
  await isReady(container)
  console.log(`      ready after ${((performance.now() - beganAt) / 1000).toFixed(1)} s`)
  assert.equal(container.health(), 0)
  const status = readFileSync(`/proc/${container.pid}/status`, 'utf8')
  assert.match(status, /^Uid:\t1000\t1000\t/m)
  assert.match(status, /^NSpid:\t\d+\t1$/m, 'it is the first process')
  assert.match(readFileSync(`/proc/${container.pid}/cmdline`, 'utf8'), /^node\0dist\/cli\/main\.js\0serve\0$/)
  const { jobId } = await container.client.submit('report', { format: 'csv' })
  assert.equal((await container.client.waitFor(jobId)).status, 'succeeded')
  assert.match(await (await container.client.result(jobId)).text(), /generatedAt/)
  const { status: code, output } = container.exec('node', 'dist/cli/main.js', 'run', 'report', '--wait')
  assert.equal(code, 0, output)
  const data = join(image.setting.root, image.setting.cwd, 'data')
  for (const path of readdirSync(data)) assert.equal(statSync(join(data, path)).uid, 1000, path)
  assert.ok(readdirSync(data).includes('jobs.db'))
  ok('its command runs as its user, healthy, runs jobs, and writes into data/')

  const remote = await container.client.submit('remote', {})
  const waiting = fetch(`${container.url}/api/v1/jobs/${remote.jobId}?wait=50`, {
    headers: { authorization: `Bearer ${token()}` }
  })
  const metrics = async () => await (await fetch(`${container.url}/metrics`)).text()
  await until(async () => /job_status_waiting_clients\{kind="long-poll"\} 1/.test(await metrics()))
  assert.equal(await container.stop(), 0)
  assert.equal((await waiting).status, 200)
  assert.match(container.lines.join('\n'), /"msg":"drained"/)
  assert.equal(container.health(), 1)
  ok('its stop signal drains it: exit code 0, and who waits is answered')

  const again = await start(image)
  await isReady(again)
  assert.equal((await again.client.status(jobId)).status, 'succeeded')
  assert.equal(await again.stop(), 0)
  const without = await start(image, { JWT_SECRET: '' })
  await until(() => without.lines.some(line => line.includes('JWT_SECRET')), 'the reason')
  ok('the next container on the same volume has the jobs; one without a key does not start')
}

/** Runs what compose.yaml says, with servers of this machine in place of the images. */
const checkServices = async (image: Image): Promise<void> => {
  const { services: { service, redis, postgres } } = readCompose()
  const [program = '', ...args] = redis?.command ?? []
  const [redisPort, postgresFolder] = [await freePort(), makeFolder()]
  const child = spawn('setpriv', [
    '--pdeathsig', 'KILL', program, ...args, '--port', String(redisPort), '--bind', '127.0.0.1'
  ], { stdio: 'ignore' })
  initialize(postgresFolder)
  const server = await createServer(postgresFolder)
  await server.start()
  const { POSTGRES_USER: user = '', POSTGRES_DB: database = '' } = postgres?.environment ?? {}
  try {
    await server.sql(`CREATE ROLE ${user} LOGIN SUPERUSER PASSWORD 'secret'`)
    await server.sql(`CREATE DATABASE ${database} OWNER ${user}`)
    const answers = (test: readonly string[], ...more: string[]) =>
      execFileSync(test[1] ?? '', [...test.slice(2), ...more], { stdio: 'ignore' })
    await until(() => {
      try {
        answers([...redis?.healthcheck?.test.toSpliced(2, 0, '-p', String(redisPort)) ?? []])
        return true
      } catch {
        return false
      }
    }, 'the health of Redis')
    answers(postgres?.healthcheck?.test ?? [], '-h', '127.0.0.1', '-p', String(server.port))
    const { DATABASE_URL: databaseUrl = '', REDIS_URL: redisUrl = '', ...others } = service?.environment ?? {}
    const container = await start(image, {
      ...others,
      JWT_SECRET: 'a-key-that-only-this-check-knows-0123456789',
      DATABASE_URL: databaseUrl.replace(/\$\{POSTGRES_PASSWORD:\?\}@postgres\//, `secret@127.0.0.1:${server.port}/`),
      REDIS_URL: redisUrl.replace('redis:6379', `127.0.0.1:${redisPort}`)
    })
    const { store, cache } = await until(async () => {
      const { store, cache } = await isReady(container)
      return cache?.mode === 'on' && { store, cache }
    })
    assert.deepEqual([store?.kind, cache?.kind], ['postgres', 'redis'], JSON.stringify({ store, cache }))
    const { jobId } = await container.client.submit('report', {})
    assert.equal((await container.client.waitFor(jobId)).status, 'succeeded')
    assert.equal(await container.stop(), 0)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
    await server.kill()
    rmSync(postgresFolder, { recursive: true, force: true })
  }
  ok('with the environment of compose.yaml it uses Postgres and Redis, and drains after its delay')
}

try {
  installSchemas()
  checkCompose()
  ok('compose.yaml keeps to the schema of the Compose specification')
  checkManifests()
  ok('the manifests of docs/operations.md keep to the schemas of Kubernetes')
  const image = build()
  ok('every step of the Dockerfile')
  checkContents(image)
  await checkProcess(image)
  await checkServices(image)
} finally {
  for (const container of containers) container.kill()
  rmSync(folder, { recursive: true, force: true })
}
