import t from 'tap'
import { typeOfEntry } from '../../src/views/entry-type.ts'
import { createViews } from '../../src/views/views.ts'
import { inEachState, queuedJob, succeededJob } from '../store/jobs.ts'

const openViews = (publicUrl: string | null = null) => {
  const invalid: string[] = []
  return { ...createViews({ publicUrl, onInvalid: jobId => { invalid.push(jobId) } }), invalid }
}

const bodiesOf = ({ v1Body, taskBody }: { v1Body: string, taskBody: string }) =>
  [JSON.parse(v1Body), JSON.parse(taskBody)] as [Record<string, unknown>, {
    success: boolean, data: Record<string, unknown>
  }]

t.test('an entry of each state has both bodies, which agree on the state', async t => {
  const { toEntry, invalid } = openViews()
  const statuses = {
    queued: 'Queued', running: 'Running', succeeded: 'Succeeded', failed: 'Failed', cancelled: 'Failed'
  }
  for (const [index, toJob] of inEachState.entries()) {
    const job = { ...toJob(`job-${index}`), version: index + 1 }
    const entry = toEntry({ kind: 'job', job })
    t.match(entry, { jobId: job.jobId, version: job.version, tenant: job.tenant, state: job.state })
    const [v1, task] = bodiesOf(entry)
    t.match(v1, { jobId: job.jobId, status: statuses[job.state] })
    t.match(task, { success: true, data: { taskId: job.jobId, status: job.state, version: job.version } })
  }
  t.same(invalid, [])
})

t.test('a job that is absent, expired or invalid has no bodies', async t => {
  const { toEntry, invalid } = openViews()
  const tombstone = { jobId: 'gone', version: 7, tenant: 'acme', expiredAt: 5 }
  const none = { v1Body: '', taskBody: '' }
  t.match(toEntry({ kind: 'absent', jobId: 'no-such-job' }), { ...none, state: 'absent', version: 0, tenant: null })
  t.match(toEntry({ kind: 'tombstone', tombstone }), { ...none, ...tombstone, state: 'expired' })
  t.same(invalid, [])
  t.match(toEntry({ kind: 'invalid', jobId: 'bad', version: 8, tenant: null }), {
    ...none, state: 'invalid', version: 8
  })
  t.same(invalid, ['bad'])
})

t.test('a view that breaks its schema is not sent, and is reported', async t => {
  const { toEntry, invalid } = openViews()
  t.match(toEntry({ kind: 'job', job: queuedJob('bad', { version: 1, attempt: -1 }) }), {
    state: 'invalid', v1Body: '', taskBody: ''
  })
  t.same(invalid, ['bad'])
})

t.test('a path of a result gets the public URL as prefix, and another URL stays', async t => {
  const resultUrl = '/api/v1/jobs/job-1/result'
  const [v1, { data }] = bodiesOf(openViews('https://jobs.example').toEntry({
    kind: 'job', job: succeededJob('job-1', { version: 1, resultUrl })
  }))
  t.equal(v1.resultUrl, `https://jobs.example${resultUrl}`)
  t.equal(data.resultUrl, 'https://jobs.example/api/jobs/job-1/result')
  const elsewhere = succeededJob('job-1', { version: 1, resultUrl: 'https://files.example/1' })
  t.equal(bodiesOf(openViews('https://jobs.example').toEntry({
    kind: 'job', job: elsewhere
  }))[0].resultUrl, 'https://files.example/1')
})

t.test('bodies with another public URL are another representation', async t => {
  const numbers = [null, 'https://a.example', 'https://b.example'].map(url => openViews(url).representation)
  t.equal(new Set(numbers).size, 3)
  t.equal(openViews('https://a.example').representation, numbers[1])
})

t.test('the type of an entry is read from its body', async t => {
  const { toEntry } = openViews()
  for (const type of ['report', 'with "quotes", \\ and a \n break', 'ü€😀', '","type":"x', 'null', null]) {
    const entry = toEntry({ kind: 'job', job: queuedJob('a.b~c', { type, version: 1 }) })
    t.equal(typeOfEntry(entry), type, JSON.stringify(type))
    t.equal(typeOfEntry(entry), type, 'again')
  }
})
