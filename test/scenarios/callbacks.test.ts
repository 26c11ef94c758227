import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import { createWorkerClient, type Json, workerClaims } from '../helpers/client.ts'
import { type Answer, startReceiver } from '../helpers/receiver.ts'
import { type Environment, spawnService, startService } from '../helpers/service.ts'
import { webhookSecret } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

/*
 * Callbacks from the submission to a real receiver.
 */

const allowed: Environment = { CALLBACK_HOSTS_ALLOWED: '127.0.0.1' }

const post = (body: unknown, more = {}) => ({ method: 'POST', body, ...more })

/** A service, a receiver, and jobs that the test ends by worker. */
const startStory = async (t: Test, answer?: Answer) => {
  const receiver = await startReceiver(t, answer)
  const service = await startService(t, { WORKERS: '0', ...allowed })
  const worker = createWorkerClient(service)
  const submit = async (more: Json = {}): Promise<string> => (await service.askJson('/api/v1/jobs', post({
    type: 'job', input: 1, callbackUrl: `${receiver.url}/hook?token=secret`, ...more
  }))).jobId
  return {
    ...service,
    receiver,
    submit,
    worker,
    list: async (jobId: string): Promise<Json[]> => (await service.askJson(`/api/v1/jobs/${jobId}/callbacks`)).items,
    end: async (command: string, body: unknown = {}) => {
      const { jobId, leaseToken } = await worker.claimed('job')
      await worker.report(jobId, command, leaseToken, body)
      return jobId
    }
  }
}

t.test('each end of a job is delivered, and verified by the receiver', async t => {
  const { submit, end, receiver, ask, askJson, sql, list } = await startStory(t)
  const verified = async (count: number): Promise<Json> => {
    const { body, headers, url } = (await receiver.arrived(count))[count - 1] ?? { body: '', headers: {}, url: '' }
    t.equal(url, '/hook?token=secret')
    return new Webhook(webhookSecret).verify(body, headers as Record<string, string>)
  }
  const succeeded = await submit()
  await end('complete', { result: { n: 1 } })
  t.match(await verified(1), { type: 'job.succeeded', data: { taskId: succeeded, status: 'succeeded', resultAvailable: true } })
  await submit()
  await end('fail', { error: { code: 'E', message: 'm' }, retryable: false })
  t.match(await verified(2), { type: 'job.failed', data: { failure: { code: 'E' } } })
  await submit({ maxAttempts: 1 })
  await end('fail', { error: { code: 'E', message: 'm' } })
  t.match(await verified(3), { type: 'job.failed' })
  const cancelled = await submit()
  await ask(`/api/v1/jobs/${cancelled}/cancel`, { method: 'POST' })
  t.match(await verified(4), { type: 'job.cancelled', data: { taskId: cancelled } })
  const updated = await submit()
  await sql(`UPDATE JobExecutionLog SET status = 'Succeeded', endTime = '2026-03-01 09:00:00' WHERE jobId = '${updated}'`)
  const message = await verified(5)
  t.match(message, { type: 'job.succeeded', timestamp: '2026-03-01T09:00:00.000Z', data: { taskId: updated } })
  t.equal(message.data.version, (await askJson(`/api/jobs/${updated}/status`)).data.version, 'a callback reveals no version before a poll')
  const deleted = await submit()
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${deleted}'`)
  t.match(await verified(6), { type: 'job.gone', data: { taskId: deleted } })
  await until(async () => (await list(succeeded))[0]?.state === 'delivered', 'the record of the delivery')
})

t.test('a receiver that is not ready yet is called again within its first minute, and then it is', async t => {
  // As n8n does while its Wait node does not wait yet.
  const { submit, end, receiver, list, logs, ask } = await startStory(t, (response, _received, count) => {
    response.writeHead(count < 3 ? 409 : 200).end('{"message":"not waiting"}')
  })
  const jobId = await submit()
  await end('complete')
  const received = await receiver.arrived(3)
  t.equal(new Set(received.map(({ body }) => body)).size, 1)
  t.equal(new Set(received.map(({ headers }) => headers['webhook-id'])).size, 1)
  const callback = await until(async () => {
    const [item] = await list(jobId)
    return item.state === 'delivered' ? item : undefined
  }, 'the delivery')
  t.match(callback, { tries: 3, lastStatus: 200, lastError: null, nextTryAt: null, url: `${receiver.url}/hook` })
  t.equal(callback.id, received[0]?.headers['webhook-id'])
  const lines = JSON.stringify(logs)
  for (const secret of ['token=secret', 'not waiting', webhookSecret, '/hook']) t.notMatch(lines, secret)
  t.match(logs.filter(({ msg }) => /^callback/.test(msg)), [
    { msg: 'callback failed, and will be tried again', status: 409, jobId, tries: 1 }, { tries: 2 },
    { msg: 'callback delivered', status: 200, host: `127.0.0.1:${receiver.port}` }
  ])
  const metrics = await (await ask('/metrics')).text()
  t.match(metrics, /job_callback_tries_total\{outcome="retried"\} 2\njob_callback_tries_total\{outcome="delivered"\} 1/)
  t.match(metrics, /job_callback_delay_seconds_count 3/)
  t.match(metrics, /job_callbacks_pending 0/)
})

t.test('a process that is killed before it has recorded a delivery costs the receiver a repetition, and no callback', async t => {
  // It answers the first call never, so that the service is killed between the delivery and its record.
  const receiver = await startReceiver(t, (response, _received, count) => { if (count > 1) response.end() })
  const env = { WORKERS: '0', ...allowed }
  const first = await spawnService(t, env)
  const worker = createWorkerClient(first)
  const { jobId } = await first.askJson('/api/v1/jobs', post({ type: 'job', input: 1, callbackUrl: receiver.url }))
  const { leaseToken } = await worker.claimed('job')
  await worker.report(jobId, 'complete', leaseToken, {})
  await receiver.arrived(1)
  await first.kill('SIGKILL')
  // The lease of the try is over.
  await first.sql('UPDATE JobCallback SET nextTryAt = 0')
  const second = await startService(t, env, first.databasePath)
  const [before, after] = await receiver.arrived(2)
  t.equal(after?.body, before?.body)
  t.equal(after?.headers['webhook-id'], before?.headers['webhook-id'])
  await until(async () => (await second.askJson(`/api/v1/jobs/${jobId}/callbacks`)).items[0].state === 'delivered', 'the record')
  t.equal(receiver.received.length, 2)
})

t.test('a process that is killed after the end and before the delivery loses no callback', async t => {
  const receiver = await startReceiver(t)
  const env = { WORKERS: '0', ...allowed }
  const first = await spawnService(t, env)
  const { jobId } = await first.askJson('/api/v1/jobs', post({ type: 'job', input: 1, callbackUrl: receiver.url }))
  await first.kill('SIGKILL')
  await first.sql(`UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = '${jobId}'`)
  await startService(t, env, first.databasePath)
  t.match(JSON.parse((await receiver.arrived(1))[0]?.body ?? ''), { type: 'job.failed', data: { taskId: jobId } })
})

t.test('a drain waits for the tries under way', async t => {
  let answer = () => {}
  const { submit, end, receiver, stop, sql } = await startStory(t, response => { answer = () => { response.end() } })
  await submit()
  await end('complete')
  await receiver.arrived(1)
  const stopped = stop()
  answer()
  await stopped
  t.equal(await sql('SELECT state, tries FROM JobCallback'), 'delivered|1')
})

/** Whether a callback was delivered before any call of another tenant, all of whose receivers hang, had ended. */
const passesSlowHosts = async (t: Test): Promise<boolean> => {
  const { askJson, sql } = await startService(t, { WORKERS: '0', ...allowed })
  let [held, cut] = [0, 0]
  const hold: Answer = response => {
    held++
    response.on('close', () => { cut++ })
  }
  const slow = await Promise.all(Array.from({ length: 40 }, () => startReceiver(t, hold)))
  const quick = await startReceiver(t)
  const submit = (tenant: string, callbackUrl: string) =>
    askJson('/api/v1/jobs', post({ type: 'job', input: 1, callbackUrl }, { claims: { ...workerClaims, tenant } }))
  for (const { url } of slow) await Promise.all(Array.from({ length: 10 }, () => submit('flooding', url)))
  await sql("UPDATE JobExecutionLog SET status = 'Succeeded'")
  await until(() => held >= 128, 'as many calls as one tenant can have under way')
  const { jobId } = await submit('other', quick.url)
  await sql(`UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = '${jobId}'`)
  await quick.arrived(1)
  t.ok(held - cut < 300, `${held - cut} calls wait`)
  return cut === 0
}

t.test('a tenant with many slow hosts delays no callback of another tenant', async t => {
  let isDelivered = false
  // A call ends after 15 s, which a busy machine may take for all of this.
  for (let trial = 1; trial <= 3 && !isDelivered; trial++) {
    await t.test(`trial ${trial}`, async t => { isDelivered = await passesSlowHosts(t) })
  }
  t.ok(isDelivered, 'no call of the other tenant had to end before')
})
