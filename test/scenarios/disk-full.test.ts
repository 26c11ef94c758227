import { execFile } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { violationsOf } from '../helpers/invariants.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'

const run = promisify(execFile)

// Large enough to fill a small disk soon.
const submission = { type: 'remote', input: 'x'.repeat(20_000) }

const submit = ({ ask }: SpawnedService): Promise<Response> => ask('/api/v1/jobs', { method: 'POST', body: submission })

/** Submits until that is refused; what was accepted before, and the refusal. */
const submitUntilRefused = async (service: SpawnedService): Promise<{ accepted: string[], refusal: Response }> => {
  const accepted: string[] = []
  for (;;) {
    const answer = await submit(service)
    if (answer.status !== 202) return { accepted, refusal: answer }
    accepted.push((await answer.json() as { jobId: string }).jobId)
    if (accepted.length > 5000) throw new Error('nothing was ever refused')
  }
}

/** Writes are refused, reads go on, and once there is space all goes on without a restart. */
const tellFull = async (
  t: Test, service: SpawnedService, first: string, makeSpace: () => Promise<unknown> | void
): Promise<void> => {
  const { accepted, refusal } = await submitUntilRefused(service)
  for (let trial = 0; trial < 3; trial++) {
    const answer = trial === 0 ? refusal : await submit(service)
    t.equal(answer.status, 503)
    t.equal(answer.headers.get('retry-after'), '1')
    t.match(await answer.json(), { code: 'STORE_UNAVAILABLE' })
  }
  const jobIds = [first, ...accepted]
  for (const jobId of jobIds) t.equal((await service.ask(`/api/v1/jobs/${jobId}`)).status, 200)
  t.equal((await service.ask('/api/v1/jobs/unknown')).status, 404)
  t.equal((await service.ask('/api/v1/jobs?limit=5')).status, 200)
  await makeSpace()
  const later = await until(async () => {
    const answer = await submit(service)
    return answer.status === 202 ? (await answer.json() as { jobId: string }).jobId : undefined
  }, 'a submission that is accepted again')
  await service.kill('SIGKILL')
  t.same(violationsOf(service.databasePath), [])
  for (const jobId of [...jobIds, later]) {
    t.equal(
      await service.sql(`SELECT count(*) FROM JobExecutionLog JOIN JobInput USING (jobId) WHERE jobId = '${jobId}'`),
      '1'
    )
  }
}

const submitFirst = async (
  service: SpawnedService
): Promise<string> => (await (await submit(service)).json() as { jobId: string }).jobId

/** A small disk of the test's own, or why there is none. */
const mountDisk = async (): Promise<{ disk: string, refused: string }> => {
  const disk = mkdtempSync(join(tmpdir(), 'small-disk-'))
  const refused = await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk]).then(
    () => '', (error: { stderr: string }) => error.stderr.split('\n', 1)[0] ?? ''
  )
  t.teardown(async () => {
    if (refused === '') await run('umount', ['--lazy', disk])
    rmdirSync(disk)
  })
  return { disk, refused }
}

const { disk, refused } = await mountDisk()
// The test after it does the same with a limit that needs no rights.
if (refused !== '') console.error(`a full disk is not tried, for none can be mounted here: ${refused}`)

t.test('a full disk: writes are 503 with Retry-After, reads go on, and space is all it takes to recover', {
  skip: refused !== '' && refused
}, async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' }, join(disk, 'jobs.db'))
  const first = await submitFirst(service)
  const ballast = join(disk, 'ballast')
  writeFileSync(ballast, Buffer.alloc(2 * 1024 * 1024))
  await tellFull(t, service, first, () => { rmSync(ballast) })
})

t.test('files that must not grow any further: the same', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const first = await submitFirst(service)
  const limit = async (bytes: number | 'unlimited') => {
    await run('prlimit', ['--pid', String(service.process.pid), `--fsize=${bytes}:`])
  }
  await limit(statSync(`${service.databasePath}-wal`).size + 200_000)
  await tellFull(t, service, first, () => limit('unlimited'))
})
