import t from 'tap'
import { createWorkerClient, workerClaims } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'
import { until } from '../../../helpers/until.ts'
import { awaitWaiting, countWaiting } from '../../../helpers/waiting.ts'
import { freezeQueue, insertRows } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, sql, submit } = service
const worker = createWorkerClient(service, workerClaims)
const both = (id: string) => [`/api/v1/jobs/${id}/result`, `/api/jobs/${id}/result`]

let types = 0
const queued = async () => {
  const type = `own-${++types}`
  return { type, jobId: await submit(type, {}) }
}
const running = async () => {
  const { type, jobId } = await queued()
  const { leaseToken } = await worker.claimed(type)
  await freezeQueue(service)
  return { jobId, leaseToken }
}
let rows = 0
const newRow = async () => {
  const jobId = `row-${++rows}`
  await insertRows(service, { jobId, status: 'Running', tenant: 'tester' })
  return jobId
}
const set = (jobId: string, assignment: string) => sql(`UPDATE JobExecutionLog SET ${assignment} WHERE jobId = '${jobId}'`)

t.test('the result is sent as soon as the job has finished, as without waiting', async t => {
  const { jobId, leaseToken } = await running()
  const [first = '', second = ''] = both(jobId)
  const waiting = [
    ask(`${first}?wait=50`), ask(second, { headers: { prefer: 'wait=50' } }), ask(`${first}?wait=50`, { method: 'HEAD' }),
    ask(`${first}?wait=50`, { headers: { range: 'bytes=4-' } })
  ]
  await awaitWaiting(service, 4)
  await worker.upload(jobId, leaseToken, 0, 'the bytes')
  await worker.report(jobId, 'progress', leaseToken, { percent: 50 })
  t.equal(await countWaiting(service), 4)
  t.equal((await worker.report(jobId, 'complete', leaseToken, {})).status, 200)
  const [whole, preferred, head, part] = await Promise.all(waiting)
  for (const answer of [whole, preferred, head, part]) t.equal(answer?.headers.get('preference-applied'), 'wait=50')
  t.same([whole?.status, await whole?.text()], [200, 'the bytes'])
  t.same([preferred?.status, await preferred?.text()], [200, 'the bytes'])
  t.same([head?.status, head?.headers.get('content-length'), await head?.text()], [200, '9', ''])
  t.same([part?.status, await part?.text()], [206, 'bytes'])
  await awaitWaiting(service, 0)
})

t.test('every other end is answered as without waiting too', async t => {
  const ends: Record<string, [assignment: string, status: number]> = {
    elsewhere: ["status = 'Succeeded', resultUrl = 'https://example.org/a'", 303],
    none: ["status = 'Succeeded'", 404],
    failed: ["status = 'Failed'", 409],
    moved: ["tenant = 'acme'", 404]
  }
  for (const [what, [assignment, status]] of Object.entries(ends)) {
    const jobId = await newRow()
    const waiting = both(jobId).map(path => ask(`${path}?wait=50`))
    await awaitWaiting(service, 2)
    await set(jobId, assignment)
    for (const answer of await Promise.all(waiting)) {
      t.equal(answer.status, status, what)
      t.equal(answer.headers.get('preference-applied'), 'wait=50', what)
    }
  }
  const jobId = await newRow()
  const waiting = ask(`${both(jobId)[0]}?wait=50`)
  await awaitWaiting(service, 1)
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  t.equal((await waiting).status, 410)
  t.equal((await ask('/api/v1/jobs/no-such-job/result?wait=50')).status, 404)
})

t.test('at the limit the response is 202 with the status', async t => {
  const { jobId } = await queued()
  for (const path of both(jobId)) {
    for (const query of ['?wait=0.05', '?wait=0', '?partial=true&wait=0.05']) {
      const answer = await ask(`${path}${query}`)
      t.equal(answer.status, 202, query)
      t.match(answer.headers.get('preference-applied'), /^wait=0(\.05)?$/)
      t.match(JSON.stringify(await answer.json()), /"status":"[Qq]ueued"/)
    }
  }
})

t.test('with partial the wait ends when there are bytes', async t => {
  const { type, jobId } = await queued()
  const waiting = both(jobId).map(path => ask(`${path}?partial=true&wait=50`))
  await awaitWaiting(service, 2)
  const { leaseToken } = await worker.claimed(type)
  for (const answer of await Promise.all(waiting)) {
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('job-result'), 'partial')
  }
  await worker.upload(jobId, leaseToken, 0, 'some')
  const answer = await ask(`${both(jobId)[0]}?partial=true&wait=50`)
  t.equal(await answer.text(), 'some', 'what would not be 202 is sent at once')
})

t.test('with partial a run without bytes is waited for like any other', async t => {
  const jobId = await newRow()
  const waiting = ask(`${both(jobId)[0]}?partial=true&wait=50`)
  await awaitWaiting(service, 1)
  await set(jobId, 'progressPercent = 50')
  await until(async () => (await ask(`/api/v1/jobs/${jobId}`)).headers.get('job-progress') === '50')
  t.equal(await countWaiting(service), 1)
  await set(jobId, "status = 'Succeeded', resultUrl = 'https://example.org/a'")
  t.equal((await waiting).status, 303)
})

t.test('at the end of its token a wait is 401', async t => {
  const jobId = await newRow()
  t.equal((await ask(`${both(jobId)[0]}?wait=50`, { claims: { expiresIn: 2000 } })).status, 401)
})
