import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { startRedis } from '../../test/helpers/redis.ts'
import { startService } from '../../test/helpers/service.ts'
import { until } from '../../test/helpers/until.ts'

/*
 * The recipe with a real Celery: Debian's packages python3-celery and python3-redis, which the check installs as root.
 */

const python = '/usr/bin/python3'
const hasCelery = (): boolean => {
  try {
    execFileSync(python, ['-c', 'import celery, redis'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
if (!hasCelery()) {
  execFileSync('apt-get', ['update', '-qq'], { stdio: ['ignore', 'ignore', 'inherit'] })
  execFileSync('apt-get', ['install', '-qq', '-y', '--no-install-recommends', 'python3-celery', 'python3-redis'], {
    stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  })
}

const service = await startService(t, { WORKERS: '0' })
const { url: broker } = await startRedis(t)
const dir = t.testdirName
writeFileSync(`${dir}/tasks.py`, `
import sqlite3, time
from celery import Celery
from job_status_celery import JobStatus

app = Celery("tasks", broker="${broker}/0", backend="${broker}/1")
status = JobStatus(lambda: sqlite3.connect("${service.databasePath}", timeout=10)).install()

@app.task
def add(a, b):
    return a + b

@app.task
def broken():
    raise ValueError("no such thing")

@app.task(bind=True, max_retries=1)
def flaky(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)

@app.task(bind=True)
def endless(self):
    status.progress(self.request.id, 40)
    time.sleep(3600)
`)
const env = { ...process.env, PYTHONPATH: 'examples/celery', PYTHONDONTWRITEBYTECODE: '1' }
const run = (code: string): string =>
  execFileSync(python, ['-c', `import sys; sys.path.insert(0, "${dir}")\nfrom tasks import *\n${code}`], { env, encoding: 'utf8' }).trim()

const startWorker = async (t: Test): Promise<ChildProcess> => {
  const child = spawn('setpriv', [
    '--pdeathsig', 'KILL', python, '-m', 'celery', '--workdir', dir, '-A', 'tasks', 'worker', '-c', '2', '--without-gossip', '-l', 'warning'
  ], { env: { ...env, PYTHONPATH: `${process.cwd()}/examples/celery` }, stdio: ['ignore', 'ignore', 'ignore'] })
  const exit = once(child, 'exit')
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await exit
  })
  return child
}

const taskOf = async (jobId: string) => (await service.askJson(`/api/jobs/${jobId}/status`)).data
const statusOf = async (jobId: string, status: string) =>
  await until(async () => {
    const task = await taskOf(jobId)
    return task?.status === status && task
  }, `${jobId} ${status}`)

t.test('shows tasks from their publication to their end', async t => {
  const early = run('print(add.delay(1, 2).id)')
  t.match(await taskOf(early), { status: 'queued', type: 'tasks.add' })
  await startWorker(t)
  t.match(await statusOf(early, 'succeeded'), { type: 'tasks.add', failure: null })
  const [broken = '', flaky = '', endless = ''] =
    run('print(broken.delay().id, flaky.delay().id, endless.delay().id)').split(' ')
  t.match(await statusOf(broken, 'failed'), { failure: { code: 'ValueError', message: 'no such thing' } })
  await statusOf(flaky, 'succeeded')
  const running = await until(async () => {
    const task = await taskOf(endless)
    return task.progress.percent === 40 && task
  })
  t.equal(running.status, 'running')
  run(`app.control.revoke("${endless}", terminate=True)`)
  await statusOf(endless, 'cancelled')
})

t.test('repair ends what a missed signal left unfinished', async t => {
  await startWorker(t)
  const jobId = run('print(add.delay(3, 4).id)')
  await statusOf(jobId, 'succeeded')
  const missed = `${jobId}-missed`
  await service.sql(`INSERT INTO JobExecutionLog (jobId, type, status) VALUES ('${missed}', 'tasks.add', 'Running')`)
  run(`app.backend.store_result("${missed}", 7, "SUCCESS"); status.repair(app)`)
  await statusOf(missed, 'succeeded')
})
