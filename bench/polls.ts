import autocannon from 'autocannon'
import SqliteDatabase from 'better-sqlite3'
import { authorization, databasePath, median, printTable, startService } from './service.ts'

/*
 * What polling one running job costs: reads of the store per 1,000 polls, and requests per second against a control,
 * /livez of the same process, measured in the same run, in turns (A B B A). `REDIS_URL` puts Redis in between.
 */

const secondsPerRound = 3
const connections = 20

const measure = async (url: string) => {
  const result = await autocannon({ url, connections, duration: secondsPerRound, headers: { authorization } })
  if (result.errors > 0 || result.non2xx > 0) throw new Error(`${url}: ${result.errors} errors, ${result.non2xx} unexpected answers: the run is not valid`)
  return result.requests.average
}

const { url, metric, stop } = await startService()
try {
  const database = new SqliteDatabase(databasePath)
  database.exec("INSERT INTO JobExecutionLog (jobId, status, progressPercent) VALUES ('job-1', 'Running', 40)")
  database.close()
  const reads = (source: string) => metric('job_status_reads_total', `{source="${source}"}`)
  const [poll, control] = [`${url}/api/v1/jobs/job-1`, `${url}/livez`]
  await measure(poll)
  const [storeBefore, cacheBefore] = [await reads('store'), await reads('cache')]
  const rates: Record<string, number[]> = { [poll]: [], [control]: [] }
  for (const target of [poll, control, control, poll]) rates[target]?.push(await measure(target))
  const store = await reads('store') - storeBefore
  const polls = store + await reads('cache') - cacheBefore
  const [pollRate, controlRate] = [median(rates[poll] ?? []), median(rates[control] ?? [])]
  printTable({
    polls,
    'reads of the store per 1,000': (store * 1000 / polls).toFixed(3),
    'polls per second': pollRate.toFixed(0),
    '/livez per second (control)': controlRate.toFixed(0),
    ratio: (controlRate / pollRate).toFixed(2)
  })
} finally {
  await stop()
}
