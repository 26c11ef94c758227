import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import autocannon from 'autocannon'
import SqliteDatabase from 'better-sqlite3'
import { createSigner } from 'fast-jwt'

/*
 * What polling one running job costs: reads of the store per 1,000 polls, and requests per second against a control,
 * /livez of the same process, measured in the same run, in turns (A B B A). `REDIS_URL` puts Redis in between.
 */

const secret = 'a-secret-of-the-bench-that-nobody-else-knows'
const secondsPerRound = 3
const connections = 20

const directory = mkdtempSync(join(tmpdir(), 'bench-'))
const databasePath = join(directory, 'jobs.db')
const service = spawn(process.execPath, ['src/main.ts'], {
  env: { ...process.env, DATABASE_URL: `sqlite:${databasePath}`, JWT_SECRET: secret, PORT: '0', WORKERS: '0', LOG_LEVEL: 'info' },
  stdio: ['ignore', 'pipe', 'inherit']
})

const findAddress = async (): Promise<string> => {
  for await (const line of createInterface({ input: service.stdout })) {
    const address = /"msg":"(http:\/\/[^"]+)"/.exec(line)?.[1]
    if (address !== undefined) return address
  }
  throw new Error('the service did not start')
}

const readMetric = async (url: string, source: string): Promise<number> => {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`job_status_reads_total\\{source="${source}"\\} (\\d+)`).exec(text)?.[1] ?? 0)
}

const measure = async (url: string, authorization: string) => {
  const result = await autocannon({ url, connections, duration: secondsPerRound, headers: { authorization } })
  if (result.errors > 0 || result.non2xx > 0) throw new Error(`${url}: ${result.errors} errors, ${result.non2xx} unexpected answers: the run is not valid`)
  return result.requests.average
}

const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

try {
  const url = await findAddress()
  service.stdout.resume()
  const database = new SqliteDatabase(databasePath)
  database.exec("INSERT INTO JobExecutionLog (jobId, status, progressPercent) VALUES ('job-1', 'Running', 40)")
  database.close()
  const authorization = `Bearer ${createSigner({ key: secret, algorithm: 'HS256', expiresIn: 600_000 })({ sub: 'bench' })}`
  const [poll, control] = [`${url}/api/v1/jobs/job-1`, `${url}/livez`]
  await measure(poll, authorization)
  const [storeBefore, cacheBefore] = [await readMetric(url, 'store'), await readMetric(url, 'cache')]
  const rates: Record<string, number[]> = { [poll]: [], [control]: [] }
  for (const target of [poll, control, control, poll]) rates[target]?.push(await measure(target, authorization))
  const store = await readMetric(url, 'store') - storeBefore
  const polls = store + await readMetric(url, 'cache') - cacheBefore
  const [pollRate, controlRate] = [median(rates[poll] ?? []), median(rates[control] ?? [])]
  process.stdout.write(`${[
    `polls                          ${polls}`,
    `reads of the store per 1,000   ${(store * 1000 / polls).toFixed(3)}`,
    `polls per second               ${pollRate.toFixed(0)}`,
    `/livez per second (control)    ${controlRate.toFixed(0)}`,
    `ratio                          ${(controlRate / pollRate).toFixed(2)}`
  ].join('\n')}\n`)
} finally {
  service.kill('SIGTERM')
  rmSync(directory, { recursive: true, force: true })
}
