import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import t from 'tap'
import { minify } from 'terser'
import { neededBy, readModules } from '../../src/http/page/module-graph.ts'
import { freePort } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

const run = promisify(execFile)
// The Node of the tests: that of the machine may be too old. What runs here are the compiler, npm and dist: to measure
// their coverage takes a third of the CPU, and says nothing about src. (Node adds the variable where it is missing.)
const env = {
  ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH ?? ''}`, NODE_OPTIONS: '', NODE_V8_COVERAGE: ''
}

type Packed = [{ filename: string, size: number, files: Array<{ path: string }> }]

// Outside the repository, whose packages would be found otherwise.
const folder = mkdtempSync(join(tmpdir(), 'package-'))
t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
mkdirSync(join(folder, 'packed'))
mkdirSync(join(folder, 'empty'))
const packed = join(folder, 'packed')
const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', packed], { env, timeout: 300_000 })
const [{ filename, files }] = JSON.parse(stdout) as Packed

t.test('the package has JavaScript with its types, the licence, and no tests', t => {
  const paths = files.map(({ path }) => path)
  for (const path of [
    'package.json', 'LICENSE', 'README.md', 'dist/main.js', 'dist/cli/main.js', 'dist/client/client.js', 'dist/client/client.d.ts'
  ]) t.ok(paths.includes(path), path)
  t.same(paths.filter(path => !/^(dist\/.*\.(js|d\.ts)|dist\/ui\/.*\.(css|svg)|package\.json|LICENSE|README\.md)$/.test(path)), [])
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
  t.notOk('prepare' in scripts || 'postinstall' in scripts, 'nothing runs when it is installed')
  t.end()
})

// What a page loads at once, and what the first worker loads, or the first download where the platform has no hash.
const clientModules = readModules('client/client.js', name => readFileSync(`dist/${name}`, 'utf8'))
const atOnce = neededBy('client/client.js', clientModules)
const laterBy = (name: string) => neededBy(name, clientModules).filter(needed => !atOnce.includes(needed))

/** The modules as one, as a bundler makes it; a name that two of them have is an error of its parser. */
const bundle = ([main = '', ...others]: readonly string[]): string => [...others, main].map(name => {
  const source = readFileSync(`dist/${name}`, 'utf8').replace(/^import .*;\n/gm, '')
  return name === main ? source : source.replace(/^export /gm, '')
}).join('\n')

t.test('the client has less than 10 kB minified, and loads the rest when it is needed', async t => {
  for (const [names, limit] of [[atOnce, 10_000], [laterBy('client/worker/worker.js'), 5000], [laterBy('client/sha256.js'), 1500]] as const) {
    const { code = '' } = await minify(bundle(names), { module: true, toplevel: true, compress: { passes: 2 } })
    t.ok(code.length > 500 && code.length < limit, `${names[0]}: ${code.length} bytes`)
    t.comment(`${names.join(' ')}: ${code.length} bytes`)
  }
  t.same(clientModules.map(({ name }) => name).filter(name => name.includes('openapi')), [], 'types are no code')
})

t.test('in an empty folder the package serves, runs a job, and is a typed client', { timeout: 300_000 }, async t => {
  const cwd = join(folder, 'empty')
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', join(packed, filename)], { cwd, env, timeout: 240_000 })
  const port = String(await freePort())
  const service = spawn('npx', ['job-status', 'serve', '--port', port], { cwd, env, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const output = text(service.stdout)
  t.teardown(() => { if (service.exitCode === null && service.pid !== undefined) process.kill(-service.pid, 'SIGKILL') })
  const url = `http://127.0.0.1:${port}`
  await until(async () => await fetch(`${url}/readyz`).then(({ ok }) => ok, () => false), 'the service', 60_000)
  const command = (...args: string[]) => run('npx', ['job-status', ...args, '--url', url], { cwd, env, timeout: 60_000 })
  const { stdout: ended, stderr } = await command('run', 'report', '--wait', '-o', 'report.json')
  t.match(ended, /^succeeded/)
  t.match(stderr, /five minutes/)
  t.match(readFileSync(join(cwd, 'report.json'), 'utf8'), /job-execution/)
  const page = await (await fetch(`${url}/ui`)).text()
  const modules = Array.from(page.matchAll(/(?:src|href)="([^"]+)"/g), ([, path = '']) => path)
  t.ok(modules.length > 5, 'the page has modules')
  for (const path of modules) t.equal((await fetch(`${url}/${path}`)).status, 200, path)
  await command('run', 'sanitize', '--wait', '--input', '{"content":"<b onclick=x>a</b>","contentType":"text/html"}')
  writeFileSync(join(cwd, 'use.mts'), `import { createClient, type Task } from 'job-status-service/client'
    const client = createClient({ url: '${url}', token: process.argv[2] ?? '' })
    const { jobId } = await client.submit('report', { format: 'csv' })
    const task: Task = await client.waitFor(jobId)
    console.log(task.status)
    // @ts-expect-error: there is no such state
    if (task.status === 'paused') throw new Error(task.status)`)
  await run(join(process.cwd(), 'node_modules/.bin/tsc'), ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--lib', 'es2024,dom', '--typeRoots', join(process.cwd(), 'node_modules/@types'), '--types', 'node', 'use.mts'], { cwd, env }).catch((error: { stdout: string }) => t.fail(error.stdout))
  const { stdout: token } = await run('npx', ['job-status', 'token', '--sub', 'me'], { cwd, env })
  const { stdout: used } = await run(process.execPath, ['use.mts', token.trim()], { cwd, env })
  t.equal(used, 'succeeded\n')
  await t.rejects(command('bench'), {
    code: 64, stderr: /^job-status: no JOB_STATUS_TOKEN: .*\njob-status: bench needs autocannon: npm install autocannon\n$/
  }, 'autocannon is not installed with it')
  if (service.pid !== undefined) process.kill(-service.pid, 'SIGTERM')
  t.match(await output, /"msg":"drained"/, 'it drains on SIGTERM to the group')
})
