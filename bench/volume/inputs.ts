import { once } from 'node:events'
import { request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { authorization, printTable, startService, toMiB } from './service.ts'

/*
 * Raw inputs of 100 MiB: measures the memory that the service needs to store one and to sanitize it. The goal is less
 * than 200 MiB.
 */

const sizeBytes = 100 * 1024 * 1024

const lines: Record<string, string> = {
  'text/plain': 'Grüße aus \u200bdem Süden, e\u0301in Text mit \u202eallerlei.\r\n',
  'application/x-ndjson': '{"name":"Gr\u200büße","value":1.0,"more":[1,2,3,"e\u0301"]}\n'
}

const upload = async (url: string, contentType: string): Promise<string> => {
  const line = lines[contentType] ?? ''
  const piece = Buffer.from(line.repeat(1000))
  const post = request(`${url}/api/sanitize/async`, {
    method: 'POST', headers: { authorization, 'content-type': contentType }
  })
  for (let sent = 0; sent + piece.length <= sizeBytes; sent += piece.length) {
    if (!post.write(piece)) await once(post, 'drain')
  }
  post.end()
  const [answer] = await once(post, 'response') as [AsyncIterable<Buffer> & { statusCode: number }]
  let text = ''
  for await (const bytes of answer) text += bytes.toString()
  if (answer.statusCode !== 202) throw new Error(`${contentType}: ${answer.statusCode} ${text}`)
  return (JSON.parse(text) as { data: { statusUrl: string } }).data.statusUrl
}

const finish = async (url: string): Promise<void> => {
  for (;;) {
    const answer = await fetch(url, { headers: { authorization } })
    const { data } = await answer.json() as { data: { status: string, isTerminal: boolean } }
    if (data.isTerminal && data.status !== 'succeeded') throw new Error(`the job ended as ${data.status}`)
    if (data.isTerminal) return
    await delay(200)
  }
}

const { url, growthWhile, stop } = await startService({ WORKERS: '1' })
try {
  const rows: Record<string, string> = {}
  for (const contentType of Object.keys(lines)) {
    let statusUrl = ''
    const began = performance.now()
    const growth = await growthWhile(async () => { statusUrl = await upload(url, contentType) })
    rows[`${contentType}: memory to store`] = toMiB(growth)
    const stored = performance.now()
    rows[`${contentType}: memory to sanitize`] = toMiB(await growthWhile(() => finish(statusUrl)))
    const [toStore, toSanitize] = [stored - began, performance.now() - stored].map(ms => (ms / 1000).toFixed(1))
    rows[`${contentType}: time`] = `${toStore} s to store, ${toSanitize} s to sanitize`
  }
  printTable(rows)
} finally {
  await stop()
}
