import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { sendAlone } from '../helpers/raw-http.ts'
import { startService } from '../helpers/service.ts'
import { bearer, token } from '../helpers/tokens.ts'

/*
 * What a client gets that has no token, or asks for what it may not see. These responses are made in advance, past most
 * of the framework, so their bytes are compared with those in a file.
 */

const folder = t.testdir()
const services = {
  plain: await startService(t, { WORKERS: '0' }, join(folder, 'plain.db')),
  cors: await startService(t, { WORKERS: '0', CORS_ORIGINS: 'https://app.example' }, join(folder, 'cors.db'))
}

const tokens: Record<string, string> = {
  valid: bearer().authorization,
  expired: `Bearer ${token({ expiresIn: -1000 })}`,
  'write-only': bearer({ scope: 'jobs:write' }).authorization,
  'other tenant': bearer({ sub: 'other', tenant: 'other' }).authorization,
  malformed: 'Bearer x.y.z',
  'of another scheme': 'Basic abc'
}

const golden = new URL('../golden/rejections.txt', import.meta.url)

/** An exchange as it is in the file, with names in place of what differs each time. */
const readExchange = async (head: string): Promise<string> => {
  const [service = 'plain', ...lines] = head.split('\n')
  const { url } = services[service as keyof typeof services]
  const sent = lines.map(line => line.replace(/<(.*)>/, (_, name: string) => tokens[name] ?? name))
  const { bytes } = await sendAlone(Number(new URL(url).port), `${sent.join('\r\n')}\r\nHost: x\r\nConnection: close\r\n\r\n`)
  const received = bytes.toString().replace(/^Date: .*$/m, 'Date: <date>').replaceAll('\r\n', '\n')
  return `${head}\n\n${received}`
}

t.test('rejections are, byte for byte, those of the file', async t => {
  await services.plain.sql(
    "INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('of-a-tenant', 'Queued', 'tester')")
  const expected = readFileSync(golden, 'utf8').slice(0, -1).split('\n====\n')
  t.ok(expected.length > 20)
  for (const exchange of expected) {
    const [head = ''] = exchange.split('\n\n', 1)
    t.equal(await readExchange(head), exchange, head)
  }
})

t.test('a rejection is logged once a minute for each reason and subject, and the others are counted', async t => {
  const { url, logs, stop } = await startService(
    t, { WORKERS: '0', LOG_LEVEL: 'info' }, join(folder, 'log.db'))
  const reject = async (times: number, status: number, authorization?: string) => {
    for (let time = 0; time < times; time++) {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
      t.equal((await fetch(`${url}/api/jobs/no-such-job/status`, { headers })).status, status)
    }
  }
  await reject(5, 401)
  await reject(3, 401, tokens.expired)
  await reject(4, 404, tokens.valid)
  await reject(1, 404, tokens['other tenant'])
  await reject(2, 403, tokens['write-only'])
  const linesOf = (msg: string) => logs.filter(line => line.msg === msg)
  t.same(linesOf('answered').map(({ status }) => status), [401, 401, 404, 404, 403])
  t.same(linesOf('token rejected').map(({ reason }) => reason), [undefined, 'token expired'])
  await stop()
  t.match(linesOf('more requests were rejected for reasons that the log has already'), [
    { level: 30, counts: { 'no token': 4, 'token expired': 2, JOB_NOT_FOUND: 3, FORBIDDEN: 1 } }
  ])
})
