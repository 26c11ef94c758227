import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { toFailure } from '../../src/cli/exit.ts'
import { createClient, JobServiceError } from '../../src/client/client.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { freePort } from '../helpers/redis.ts'
import { secret, token } from '../helpers/tokens.ts'
import { spawnService, startService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'
import { commandLine, follow, interactive, terminal } from './commands.ts'

const service = await startService(t, { WORKERS: '1' })
const worker = createWorkerClient(service)
const client = createClient({ url: service.url, token: token({ scope: 'jobs:read jobs:write jobs:work', expiresIn: 3_600_000 }) })
const run = commandLine(service.url)
const escape = '\u001b'
const uuid = /^[0-9a-f-]{36}\n$/
t.jobs = 3

const submitted = async (type: string, input: unknown = {}): Promise<string> => (await client.submit(type, input)).jobId

/** Ends a job of a type of its own with this report. */
const ended = async (type: string, command: string, body: object): Promise<string> => {
  const jobId = await submitted(type)
  const { leaseToken } = await worker.claimed(type)
  await worker.report(jobId, command, leaseToken, body)
  return jobId
}

t.test('submits with every digit, prints the id, and waits for the end', async t => {
  const dir = t.testdir({ 'in.json': '{ "n": 1970670598291982290.50 }' })
  const one = await run('submit', 'exact', '--input', `@${dir}/in.json`, '--max-attempts', '1')
  t.match(one, { code: 0, out: uuid, err: '' })
  t.equal(await (await service.ask(`/api/v1/jobs/${one.out.trim()}/input`)).text(), '{ "n": 1970670598291982290.50 }')
  const piped = await commandLine(service.url, { input: '[1]' })('submit', 'exact', '-i', '@-', '--json')
  const { jobId } = JSON.parse(piped.out) as { jobId: string }
  t.equal(await (await service.ask(`/api/v1/jobs/${jobId}/input`)).text(), '[1]')
})

t.test('run submits, waits and writes the result in one go', async t => {
  const path = join(t.testdir({}), 'report.csv')
  const { code, out, err } = await run('run', 'report', '--input', '{"format":"csv"}', '--wait', '-o', path)
  t.equal(code, 0, err)
  t.match(out, /^succeeded {2}[0-9a-f-]{36}\n {2}type {6}report/)
  t.match(readFileSync(path, 'utf8'), /^section,type,status/)
  t.notOk(existsSync(`${path}.part`) || existsSync(`${path}.part.etag`))
  t.match(await run('run', 'report'), { code: 0, out: uuid })
})

t.test('the exit code of wait says how the job ended', async t => {
  const cases: Array<[code: number, jobId: string, more: string[]]> = [
    [0, await ended('good', 'complete', { result: 1 }), []],
    [1, await ended('bad', 'fail', { error: { code: 'E_DISK', message: 'full' }, retryable: false }), []],
    [2, await (async () => { const id = await submitted('stopped'); await client.cancel(id); return id })(), []],
    [3, 'no-such-job', []],
    [124, await submitted('never'), ['--timeout', '0.2']]
  ]
  for (const [code, jobId, more] of cases) {
    const { code: actual, err, out } = await run('wait', jobId, ...more)
    t.equal(actual, code, `${jobId}: ${err}`)
    if (code === 3) t.match(err, /^job-status: .*\(JOB_NOT_FOUND\)\n$/)
    if (code === 124) t.match(err, /^job-status: \S+ did not end within 0.2 s\n$/)
    if (code === 1) t.match(out, /failure {3}E_DISK: full/)
  }
  const erased = cases[2]?.[1] ?? ''
  await service.ask(`/api/v1/jobs/${erased}`, { method: 'DELETE' })
  t.match(await run('wait', erased), { code: 3, err: /JOB_EXPIRED/ })
})

t.test('wrong usage is 64, a service out of reach 69, a token that is not accepted 77, each in one line', async t => {
  const cases: Array<[code: number, args: string[], env?: Record<string, string>]> = [
    [64, ['wait']], [64, ['no-such-command']], [64, ['submit', 'x', '--input', '{']], [64, ['submit', 'x', '-i', '@/no/file']],
    [64, ['wait', 'x', '--timeout', 'soon']], [64, ['submit', 'NO TYPE']], [64, ['status', 'x', '--url', 'ftp://x']],
    [64, ['status', 'x', '--url', 'http://me:secret@127.0.0.1']], [64, ['bench', '--p95', 'fast']],
    [64, ['submit', 'x', '--callback-url', 'http://10.0.0.1/']],
    [69, ['status', 'x', '--url', `http://127.0.0.1:${await freePort()}`, '--patience', '0']],
    [77, ['status', 'x', '--token', 'garbage']], [77, ['status', 'x'], { JOB_STATUS_TOKEN: token({ scope: 'jobs:write' }) }],
    [77, ['status', 'x', '--url', 'http://service.example'], { JOB_STATUS_TOKEN: '' }]
  ]
  for (const [code, args, env = {}] of cases) {
    const { code: actual, out, err } = await commandLine(service.url, { env, cwd: t.testdirName.replace(/[^/]*$/, '') })(...args)
    t.equal(actual, code, `${args.join(' ')}: ${err}`)
    t.match(err.trimEnd(), /^.+$/, args.join(' '))
    t.notMatch(err, /secret/)
    t.equal(out, '')
  }
  t.match(await run('--help'), { code: 0, out: /Usage: job-status/ })
})

t.test('prints JSON that programs can read, and no colours but on a terminal', async t => {
  const jobId = await ended('shown', 'complete', { result: { rows: 1 } })
  const { out } = await run('status', jobId, '--json')
  t.match(JSON.parse(out), { taskId: jobId, status: 'succeeded', result: { rows: 1 }, isTerminal: true })
  const lines = (await run('list', '--type', 'shown', '--json')).out.trim().split('\n')
  t.same(lines.map(line => (JSON.parse(line) as { taskId: string }).taskId), [jobId])
  const text = (await run('list', '--type', 'shown')).out
  t.match(text, new RegExp(`^succeeded {2}${jobId} {2}shown`))
  t.notOk(text.includes(escape))
  const onTerminal = terminal(service.url)
  t.match(await onTerminal({}, 'list', '--type', 'shown'), `${escape}[32m`)
  t.notOk((await onTerminal({ NO_COLOR: '1' }, 'list', '--type', 'shown')).includes(escape))
})

t.test('shows a progress bar on a terminal while it waits', async t => {
  const jobId = await submitted('bar')
  const { leaseToken } = await worker.claimed('bar', { leaseSeconds: 600 })
  await worker.report(jobId, 'progress', leaseToken, { percent: 40, stage: 'reading' })
  const waiting = terminal(service.url)({}, 'wait', jobId)
  await until(() => service.logs.some(({ method, jobId: id }) => method === 'GET' && id === jobId), 'the first state')
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  t.match(await waiting, /40% {2}running {2}reading[^]*succeeded/)
})

t.test('an interrupted wait gives the cursor back, and a long timeout is no short one', async () => {
  const jobId = await submitted('interrupted')
  const { shown, type } = interactive(service.url, 'wait', jobId, '--timeout', '9999999')
  await until(() => shown().includes(`${escape}[?25l`), 'the bar')
  type('\u0003')
  await until(() => shown().includes(`${escape}[?25h`), 'the cursor')
  await until(() => shown().includes('exit 130'), 'the exit code')
})

t.test('a fault of the service is not a failed job', t => {
  t.match(toFailure(new JobServiceError('INTERNAL', 'm', { status: 500 })), { code: 69 })
  t.match(toFailure(new JobServiceError('UNKNOWN', 'm', { status: 500 })), { code: 69 })
  t.match(toFailure(new JobServiceError('JOB_FAILED', 'm', { status: 409 })), { code: 1 })
  t.end()
})

t.test('what a worker reports cannot control the terminal', async t => {
  const jobId = await ended('hostile', 'fail', { error: { code: 'E', message: '\u001b[2Jgone\u202e' }, retryable: false })
  for (const command of [['status', jobId], ['list', '--type', 'hostile']]) {
    const { out } = await run(...command)
    t.notOk(out.includes(escape) || out.includes('\u202e'), command[0] ?? '')
  }
})

t.test('goes on with a download that was interrupted, and prints a result', async t => {
  const bytes = randomBytes(3_000_000)
  const bytesWorker = client.worker(['bytes'], () => new Uint8Array(bytes))
  const jobId = await submitted('bytes')
  await client.waitFor(jobId)
  await bytesWorker.stop()
  const dir = t.testdir({})
  const path = join(dir, 'a.bin')
  const eTag = (await service.ask(`/api/v1/jobs/${jobId}/result`, { method: 'HEAD' })).headers.get('etag') ?? ''
  writeFileSync(`${path}.part`, bytes.subarray(0, 2_000_000))
  writeFileSync(`${path}.part.etag`, eTag)
  t.match(await run('result', jobId, '-o', path), { code: 0, out: `${path}: 3000000 bytes\n` })
  t.ok(readFileSync(path).equals(bytes))
  writeFileSync(`${path}.part`, Buffer.alloc(2_000_000))
  writeFileSync(`${path}.part.etag`, eTag)
  t.match(await run('result', jobId, '-o', path), { code: 1, err: /RESULT_DAMAGED/ })
  t.match(await run('result', jobId, '-o', path), { code: 0 }, 'and the next call begins again')
  t.ok(readFileSync(path).equals(bytes))
  writeFileSync(`${path}.part`, bytes)
  writeFileSync(`${path}.part.etag`, eTag)
  t.match(await run('result', jobId, '-o', path), { code: 0 }, 'a call that was stopped after the last byte')
  t.ok(readFileSync(path).equals(bytes))
  t.equal((await run('result', await ended('text', 'complete', { result: [1] }))).out, '[1]')
  t.match(await run('result', await ended('empty', 'complete', {})), { code: 1, err: /NO_RESULT/ })
})

t.test('cancels, and watches one job or all', async t => {
  const before = (await service.ask('/api/v1/jobs?limit=1')).headers.get('changes-cursor') ?? ''
  const jobId = await submitted('watched')
  const watching = run('watch', jobId, '--json')
  const all = follow(t, service.url, 'watch', '--type', 'watched', '--since', before)
  await until(() => all.lines.some(line => line.startsWith(`queued     ${jobId}`)), 'the submission')
  t.match(await run('cancel', jobId), { code: 0, out: /^cancelled/ })
  const { code, out } = await watching
  t.equal(code, 2)
  const last = JSON.parse(out.trim().split('\n').at(-1) ?? '') as { task: { status: string } }
  t.equal(last.task.status, 'cancelled')
  await until(() => all.lines.some(line => line.startsWith(`cancelled  ${jobId}`)), 'the end')
  await service.ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE' })
  await until(() => all.lines.includes(`gone       ${jobId}`), 'its removal')
})

t.test('makes itself a token for a local service, and says so; token prints one', async t => {
  const dir = t.testdir({ data: { 'jwt-secret': secret } })
  const local = commandLine(service.url, { cwd: dir, env: { JOB_STATUS_TOKEN: '' } })
  const jobId = await ended('local', 'complete', {})
  const { code, out, err } = await local('status', jobId)
  t.equal(code, 0, err)
  t.match(out, jobId)
  t.match(err, /^job-status: no JOB_STATUS_TOKEN: using a token of five minutes for the local service\n$/)
  const printed = (await local('token', '--sub', 'me', '--tenant', 'tester', '--scope', 'jobs:read')).out.trim()
  t.equal((await service.ask(`/api/v1/jobs/${jobId}`, { headers: { authorization: `Bearer ${printed}` } })).status, 200)
  const strict = await startService(t, { JWT_AUDIENCE: 'jobs', JWT_ISSUER: 'us', WORKERS: '0' }, `${service.databasePath}.strict`)
  const env = { JOB_STATUS_TOKEN: '', JWT_AUDIENCE: 'jobs', JWT_ISSUER: 'us' }
  t.match(await commandLine(strict.url, { cwd: dir, env })('list'), { code: 0 }, 'with what the service asks of tokens')
  mkdirSync(join(dir, 'empty'))
  t.match(await commandLine(service.url, { cwd: join(dir, 'empty'), env: { JOB_STATUS_TOKEN: '' } })('token', '--sub', 'me'), { code: 77 })
})

t.test('bench gates on the 95th percentile', async t => {
  const args = ['bench', '--rate', '20', '--duration', '4', '--connections', '1']
  const good = await run(...args, '--p95', '60000', '--json')
  t.equal(good.code, 0, good.err)
  t.match(JSON.parse(good.out), { polls: Number, failed: 0, p50: Number, p95: Number, p99: Number })
  t.match(await run(...args, '--p95', '0'), { code: 1, err: /^job-status: p95 is .* ms, above 0 ms\n$/ })
})

t.test('serve runs the service until SIGTERM', async t => {
  const served = await spawnService(t, { WORKERS: '0' }, undefined, 'test/cli/serve.ts')
  t.equal((await served.ask('/readyz')).status, 200)
  t.equal((await served.kill('SIGTERM')).code, 0)
})
