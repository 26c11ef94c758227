import { once } from 'node:events'
import { request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { authorization, printTable, startService, toMiB } from './service.ts'

/*
 * A result of 1 GiB in one request, and the completion, which reads it to compute its hash. Measures megabytes per
 * second, the growth of the service's memory (the goal is less than 100 MiB) and the latency of /livez meanwhile.
 */

const sizeBytes = 1024 ** 3
const piece = Buffer.alloc(256 * 1024, 'result bytes ')
const probePauseMs = 5

type Claimed = { jobId: string, leaseToken: string }

const { url, growthWhile, stop } = await startService({})

const post = async <Answer>(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> => {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  return await answer.json() as Answer
}

const upload = async ({ jobId, leaseToken }: Claimed): Promise<void> => {
  const put = request(`${url}/api/v1/worker/jobs/${jobId}/result?offset=0`, {
    method: 'PUT',
    headers: {
      authorization, 'lease-token': leaseToken, 'content-type': 'application/x-bench', 'content-length': sizeBytes
    }
  })
  const answered = once(put, 'response') as Promise<[AsyncIterable<Buffer> & { statusCode: number }]>
  for (let sent = 0; sent < sizeBytes; sent += piece.length) {
    if (!put.write(piece)) await once(put, 'drain')
  }
  put.end()
  const [answer] = await answered
  let text = ''
  for await (const bytes of answer) text += bytes.toString()
  if (text !== `{"offset":${sizeBytes}}`) throw new Error(`the upload: ${answer.statusCode} ${text}`)
}

/** Latencies of /livez in ms, sorted, while `work` runs. */
const latenciesWhile = async (work: () => Promise<unknown>): Promise<number[]> => {
  const latencies: number[] = []
  let isDone = false
  const probe = async () => {
    while (!isDone) {
      const began = performance.now()
      await (await fetch(`${url}/livez`)).arrayBuffer()
      latencies.push(performance.now() - began)
      await delay(probePauseMs)
    }
  }
  const probing = probe()
  await work()
  isDone = true
  await probing
  return latencies.toSorted((a, b) => a - b)
}

const at = (sorted: number[], share: number): string =>
  `${(sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1)} ms`

const measure = async (what: string, work: () => Promise<unknown>): Promise<Record<string, string>> => {
  let latencies: number[] = []
  const began = performance.now()
  const growth = await growthWhile(async () => { latencies = await latenciesWhile(work) })
  const seconds = (performance.now() - began) / 1000
  return {
    [`${what}: time`]: `${seconds.toFixed(1)} s`,
    [`${what}: rate`]: `${(sizeBytes / 1e6 / seconds).toFixed(0)} MB/s`,
    [`${what}: memory`]: toMiB(growth),
    [`${what}: /livez p50, p99, max`]: [0.5, 0.99, 1].map(share => at(latencies, share)).join(', ')
  }
}

try {
  await post('/api/v1/jobs', { type: 'bench', input: null })
  const claimed = await post<Claimed>('/api/v1/worker/claim', { types: ['bench'] })
  const uploaded = await measure('upload', () => upload(claimed))
  const completed = await measure('complete', () =>
    post(`/api/v1/worker/jobs/${claimed.jobId}/complete`, {}, { 'lease-token': claimed.leaseToken }))
  printTable({ ...uploaded, ...completed })
} finally {
  await stop()
}
