import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { startService } from './helpers/service.ts'
import { token } from './helpers/tokens.ts'
import { until } from './helpers/until.ts'

/*
 * The examples that people copy, run against a service as they are.
 */

const folder = resolve('examples')
const service = await startService(t, { WORKERS: '0', CANCEL_GRACE_SECONDS: '60' })
const dir = t.testdirName

type Program = { child: ChildProcess, errors: () => string, stop: () => Promise<number | null> }

/** Runs a worker that ends with the test. */
const startWorker = (t: Test, command: string, args: readonly string[], env: Record<string, string> = {}): Program => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
    cwd: dir,
    env: {
      ...process.env,
      JOB_STATUS_URL: service.url,
      JOB_STATUS_TOKEN: token({ scope: 'jobs:work', expiresIn: 3_600_000 }),
      PYTHONPATH: join(folder, 'workers'),
      PYTHONDONTWRITEBYTECODE: '1',
      ...env
    },
    stdio: ['ignore', 'inherit', 'pipe']
  })
  let errors = ''
  child.stderr?.on('data', data => { errors += String(data) })
  const exit = once(child, 'exit') as Promise<[number | null]>
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return {
    child,
    errors: () => errors,
    stop: async () => {
      child.kill('SIGTERM')
      return (await exit)[0]
    }
  }
}

const taskOf = async (jobId: string) => (await service.askJson(`/api/jobs/${jobId}/status`)).data
const ended = async (jobId: string) =>
  (await service.askJson(`/api/jobs/${jobId}/status?wait=50`)).data
const outcomes = async (jobId: string): Promise<unknown[]> =>
  (await service.askJson(`/api/v1/jobs/${jobId}/attempts`)).items.map((item: { outcome: unknown }) => item.outcome)
const reported = async (jobId: string, percent: number) =>
  await until(async () => (await taskOf(jobId)).progress.percent >= percent, `${percent} % of ${jobId}`)
const cancel = (jobId: string) => service.ask(`/api/jobs/${jobId}/cancel`, { method: 'POST' })

/** What each worker does: a job that ends well, one that fails at first, one cancelled while it runs, and SIGTERM. */
const drive = async (t: Test, worker: Program, type: (name: string) => string): Promise<void> => {
  const submit = async (name: string, input: unknown) => await service.submit(type(name), input)
  const flaky = await submit('flaky', 'flaky')
  const broken = await submit('broken', 'broken')
  t.match(await ended(broken), { status: 'failed', attempt: 1, failure: { message: 'no such "thing"' } }, 'is not tried again')
  t.match(await ended(flaky), { status: 'succeeded', attempt: 2 }, 'is tried again')
  t.same(await outcomes(flaky), ['failed', 'succeeded'])
  const endless = await submit('endless', 'endless')
  await reported(endless, 40)
  t.equal((await taskOf(endless)).progress.message, 'half "way"')
  t.equal((await cancel(endless)).status, 202)
  t.match(await ended(endless), { status: 'cancelled' })
  const interrupted = await submit('endless', 'endless')
  await reported(interrupted, 40)
  t.equal(await worker.stop(), 0)
  t.match(await taskOf(interrupted), { status: 'queued', attempt: 0 }, 'is given back at once')
  t.same(await outcomes(interrupted), ['released'])
  await cancel(interrupted)
}

t.jobs = 2

t.test('the worker in Python counts words', async t => {
  const worker = startWorker(t, 'python3', [join(folder, 'workers/word_count.py')])
  const jobId = await service.submit('word-count', { text: 'one two\ntwo three two\n', secondsPerLine: 0 })
  t.match(await ended(jobId), { status: 'succeeded', attempt: 1 }, worker.errors())
  const result = await service.ask(`/api/v1/jobs/${jobId}/result`)
  t.match(result.headers.get('content-disposition'), 'words.csv')
  t.equal(await result.text(), 'two,3\none,1\nthree,1\n')
  const large = await service.submit('word-count', { text: 'word '.repeat(100_000) })
  await ended(large)
  t.equal(await (await service.ask(`/api/v1/jobs/${large}/result`)).text(), 'word,100000\n', 'an input beside the claim')
  t.match(await ended(await service.submit('word-count', {})), { status: 'failed', attempt: 1, failure: { code: 'INVALID_INPUT' } })
  t.equal(await worker.stop(), 0, 'ends while it waits for a job')
})

t.test('a worker in Python keeps its lease, retries, stops when cancelled and releases on SIGTERM', async t => {
  writeFileSync(join(dir, 'handlers.py'), `
import time
from job_worker import JobError, Result, Worker
def flaky(job):
    if job.attempt == 1:
        raise OSError("at first")
    return Result(b"x" * 3_000_000)
def broken(job):
    raise JobError("BROKEN", 'no such "thing"', {"at": 1}, retryable=False)
def endless(job):
    job.progress(percent=40, message='half "way"')
    time.sleep(3600)
def lasting(job):
    time.sleep(4.5)
    return {"attempt": job.attempt}
Worker({"py.flaky": flaky, "py.broken": broken, "py.endless": endless, "py.lasting": lasting}, lease_seconds=3).run()
`)
  const worker = startWorker(t, 'python3', ['handlers.py'])
  const lasting = await service.submit('py.lasting', {})
  t.match(await ended(lasting), { status: 'succeeded', attempt: 1, result: { attempt: 1 } }, 'longer than its lease')
  await drive(t, worker, name => `py.${name}`)
  t.equal(worker.errors(), '')
})

t.test('a worker in bash keeps its lease, retries, stops when cancelled and releases on SIGTERM', async t => {
  writeFileSync(join(dir, 'command.sh'), `#!/bin/bash
    read -r name
    case $name in
      '"flaky"') [[ $JOB_ATTEMPT != 1 ]] || exit 1; head -c 9000000 /dev/zero ;;
      '"broken"') echo 'no such "thing"' >&2; exit 65 ;;
      '"endless"') echo '40 half "way"' >&3; sleep 3600 ;;
      *) sleep 3.2; echo "attempt $JOB_ATTEMPT of $JOB_TYPE" ;;
    esac
`, { mode: 0o755 })
  const env = { LEASE_SECONDS: '3', RESULT_TYPE: 'text/plain' }
  const worker = startWorker(t, join(folder, 'workers/worker.sh'), ['sh', './command.sh'], env)
  const lasting = await service.submit('sh', { leaseToken: 'no', text: '","leaseToken":"no"' })
  t.match(await ended(lasting), { status: 'succeeded', attempt: 1 }, 'longer than its lease')
  t.equal(await (await service.ask(`/api/v1/jobs/${lasting}/result`)).text(), 'attempt 1 of sh\n')
  await drive(t, worker, () => 'sh')
})

t.test('the handlers of the Celery recipe show tasks truthfully, in whatever order signals come', async t => {
  const script = `
import sqlite3, sys
from types import SimpleNamespace as Fake
sys.path.insert(0, sys.argv[2])
from job_status_celery import JobStatus
status = JobStatus(lambda: sqlite3.connect(sys.argv[1], timeout=10), tenant="tester",
                   result_url=lambda task_id, result: result)
def task(task_id, name="tasks.add"):
    return Fake(name=name, request=Fake(id=task_id, task=name))
def publish(task_id):
    status.on_published(headers={"id": task_id, "task": "tasks.add"})
def start(task_id):
    status.on_started(task_id, task=task(task_id))
publish("c-queued")
publish("c-running"); start("c-running"); status.progress("c-running", 40)
publish("c-done"); start("c-done"); status.on_succeeded(sender=task("c-done"), result="https://files.example.org/1")
publish("c-done"); start("c-done"); status.on_failed("c-done", exception=ValueError("late"), sender=task("c-done"))
start("c-unpublished"); publish("c-unpublished")
publish("c-failed"); start("c-failed"); status.on_failed("c-failed", exception=ValueError("no such thing"), sender=task("c-failed"))
start("c-retried"); status.on_retried(request=Fake(id="c-retried")); publish("c-retried")
publish("c-revoked"); status.on_revoked(request=Fake(id="c-revoked", task="tasks.add"))
publish("c-expired"); status.on_revoked(request=Fake(id="c-expired", task="tasks.add"), expired=True)
start("c-missed"); start("c-kept")
states = {"c-missed": Fake(state="SUCCESS", result=None)}
app = Fake(tasks={"tasks.add": task(None)}, AsyncResult=lambda task_id: states.get(task_id, Fake(state="PENDING")))
status.repair(app)
broken = JobStatus(lambda: sqlite3.connect("/no/such/folder/jobs.db"))
broken.on_started("c-broken", task=task("c-broken"))
`
  const child = spawn('python3', ['-B', '-c', script, service.databasePath, join(folder, 'celery')], { stdio: 'inherit' })
  t.same(await once(child, 'exit'), [0, null])
  const statusOf = async (jobId: string, status: string) => await until(async () => {
    const task = await taskOf(jobId)
    return task?.status === status && task
  }, `${jobId} ${status}`)
  t.match(await statusOf('c-queued', 'queued'), { type: 'tasks.add' })
  t.match(await statusOf('c-running', 'running'), { progress: { percent: 40 } })
  t.match(await statusOf('c-done', 'succeeded'), { resultUrl: 'https://files.example.org/1', failure: null })
  await statusOf('c-unpublished', 'running')
  t.match(await statusOf('c-failed', 'failed'), { failure: { code: 'ValueError', message: 'no such thing' } })
  await statusOf('c-retried', 'queued')
  await statusOf('c-revoked', 'cancelled')
  t.match(await statusOf('c-expired', 'failed'), { failure: { code: 'EXPIRED' } })
  await statusOf('c-missed', 'succeeded')
  await statusOf('c-kept', 'running')
  t.equal((await service.ask('/api/jobs/c-broken/status')).status, 404, 'a task goes on that cannot be shown')
  t.equal((await service.ask('/api/jobs/c-done/status', { claims: { tenant: 'another' } })).status, 404)
})
