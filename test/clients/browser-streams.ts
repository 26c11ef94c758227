import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { launchChromium } from './installed-chromium.ts'
import { readSettings } from './service.ts'

/*
 * The streams of events, read with `fetch` by a page of the service in Chromium: each event is there before the next
 * change is made, the stream of a job ends with it, and the page can go on after the last event of the feed.
 */

const { baseUrl, token, databasePath } = readSettings()
const authorization = `Bearer ${token}`
const jobId = 'streamed'

const sql = (statement: string): void => {
  execFileSync('sqlite3', ['-cmd', '.timeout 5000', databasePath, statement])
}

type Event = { event: string, id: string, data: string }

/** What runs in the page: streams by their names, and the next event of each. */
type InPage = { streams: Map<string, () => Promise<Event | null>> }

const browser = await launchChromium()
try {
  const page = await browser.newPage()
  await page.goto(`${baseUrl}/docs`)

  const open = async (name: string, path: string, headers: Record<string, string>): Promise<number> =>
    await page.evaluate(async ({ name, path, headers }) => {
      const here = globalThis as unknown as InPage
      here.streams ??= new Map()
      const response = await fetch(path, { headers })
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
      let text = ''
      const next = async (): Promise<Event | null> => {
        for (;;) {
          const end = text.indexOf('\n\n')
          if (end >= 0) {
            const block = text.slice(0, end)
            text = text.slice(end + 2)
            const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? ''
            if (field('data') !== '') return { event: field('event'), id: field('id'), data: field('data') }
            continue
          }
          const { value, done } = await reader?.read() ?? { value: '', done: true }
          if (done) return null
          text += value
        }
      }
      here.streams.set(name, next)
      return response.status
    }, { name, path, headers: { authorization, accept: 'text/event-stream', ...headers } })

  const next = async (name: string): Promise<Event | null> =>
    await page.evaluate(async name => await (globalThis as unknown as InPage).streams.get(name)?.() ?? null, name)

  sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('${jobId}', 'Running')`)
  assert.equal(await open('job', `/api/v1/jobs/${jobId}/events`, {}), 200)
  const first = await next('job')
  assert.match(first?.data ?? '', /"status":"Running"/)
  const { cursor } = await (await fetch(`${baseUrl}/api/v1/events`, { headers: { authorization } })).json() as { cursor: string }
  assert.equal(await open('feed', `/api/v1/events?since=${cursor}`, {}), 200)

  let last: Event | null = null
  for (const change of ['progressPercent = 10', 'progressPercent = 20', "status = 'Succeeded'"]) {
    sql(`UPDATE JobExecutionLog SET ${change} WHERE jobId = '${jobId}'`)
    const [ofJob, ofAll] = [await next('job'), await next('feed')]
    assert.deepEqual(JSON.parse(ofAll?.data ?? '{}').job, JSON.parse(ofJob?.data ?? '{}'), change)
    last = ofJob
    if (change === 'progressPercent = 10') {
      assert.equal(await open('resumed', '/api/v1/events', { 'last-event-id': ofAll?.id ?? '' }), 200)
    }
  }
  assert.match(last?.data ?? '', /"status":"Succeeded"/)
  assert.equal(await next('job'), null, 'the stream of a job ends with it')
  assert.match((await next('resumed'))?.data ?? '', new RegExp(`"jobId":"${jobId}"`))
  assert.equal(await open('again', `/api/v1/jobs/${jobId}/events`, { 'last-event-id': last?.id ?? '' }), 204)
} finally {
  await browser.close()
}
