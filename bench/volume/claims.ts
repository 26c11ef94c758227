import { authorization, printTable, startService } from './service.ts'

/*
 * 10 workers claim and complete 5,000 jobs over HTTP. Measures jobs per second, and jobs that two workers claimed, of
 * which there must be none.
 */

const jobCount = 5000
const workerCount = 10
const submitterCount = 10

type Claimed = { jobId: string, leaseToken: string, attempt: number }

const { url, metric, stop } = await startService({ LOG_LEVEL: 'info' })

const post = async (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> => {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  return answer
}

const submitAll = async (): Promise<void> => {
  let left = jobCount
  await Promise.all(Array.from({ length: submitterCount }, async () => {
    while (left-- > 0) await (await post('/api/v1/jobs', { type: 'bench', input: { left } })).arrayBuffer()
  }))
}

const claimed: string[] = []

const work = async (): Promise<void> => {
  for (;;) {
    const answer = await post('/api/v1/worker/claim', { types: ['bench'] })
    if (answer.status === 204) return
    const { jobId, leaseToken, attempt } = await answer.json() as Claimed
    if (attempt !== 1) throw new Error(`job ${jobId} is in attempt ${attempt}, so the run is not valid`)
    claimed.push(jobId)
    const path = `/api/v1/worker/jobs/${jobId}/complete`
    const completed = await post(path, { result: { ok: true } }, { 'lease-token': leaseToken })
    await completed.arrayBuffer()
  }
}

try {
  const submitBegan = performance.now()
  await submitAll()
  const began = performance.now()
  await Promise.all(Array.from({ length: workerCount }, work))
  const seconds = (performance.now() - began) / 1000
  const succeeded = await metric('job_transitions_total', '{event="complete",state="succeeded"}')
  if (succeeded !== jobCount) throw new Error(`only ${succeeded} of ${jobCount} jobs succeeded: the run is not valid`)
  printTable({
    'jobs submitted per second': (jobCount * 1000 / (began - submitBegan)).toFixed(0),
    'jobs claimed and completed': claimed.length,
    duplicates: claimed.length - new Set(claimed).size,
    'jobs claimed and completed per second': (jobCount / seconds).toFixed(0)
  })
  if (new Set(claimed).size !== claimed.length) process.exitCode = 1
} finally {
  await stop()
}
