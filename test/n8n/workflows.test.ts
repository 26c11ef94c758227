import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { createWorkerClient, type Json, workerClaims } from '../helpers/client.ts'
import { freePort } from '../helpers/redis.ts'
import { type Environment, startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { awaitWaiting } from '../helpers/waiting.ts'
import { type Ended, execute, type Hooks } from './emulation/execution.ts'
import { readWorkflow, withSettings } from './emulation/workflow.ts'

/*
 * The workflows of examples/n8n against a real service. What n8n does is emulated here; `npm run check:n8n` runs the same
 * files in n8n itself.
 */

const files = ['callback.json', 'polling-loop.json', 'submit-and-wait.json'] as const
type File = typeof files[number]

t.jobs = 4

// The worker and the others of the test. Each request has a subject of its own, so none is limited.
let subjects = 0
const other = { ...workerClaims, tenant: 'n8n', get sub () { return `other-${subjects++}` } }
const n8n = { sub: 'n8n', scope: 'jobs:read jobs:write' }

const open = async (t: Test, env: Environment = {}) => {
  const service = await startService(t, { WORKERS: '0', CALLBACK_HOSTS_ALLOWED: '127.0.0.1', ...env })
  const worker = createWorkerClient(service, other)
  const claim = () => worker.claimed('report')
  const start = (file: File, hooks: Partial<Hooks> = {}, settings: Record<string, string> = {}) => execute(
    t, withSettings(readWorkflow(file), { baseUrl: service.url, ...settings }), { token: () => token(n8n), ...hooks }
  )
  return { service, worker, claim, start }
}
type Open = Awaited<ReturnType<typeof open>>

/** Runs a workflow; `end` ends its job while n8n waits for it, in the way of this workflow. */
const runAndEnd = async (
  file: File, { service, start }: Open, end: () => Promise<unknown>, hooks: Partial<Hooks> = {}
): Promise<Ended> => {
  if (file === 'submit-and-wait.json') {
    const [ended] = await Promise.all([start(file, hooks), awaitWaiting(service, 1).then(end)])
    return ended
  }
  let hasEnded = false
  const onWait = async (node: string, waitMs: number) => {
    if (/^Wait/.test(node) && !hasEnded) {
      hasEnded = true
      await end()
    }
    return await hooks.onWait?.(node, waitMs)
  }
  return await start(file, { ...hooks, onWait })
}

const succeed = async ({ claim, worker }: Open, bytes = 'a,b\n1,2\n') => {
  const { jobId, leaseToken } = await claim()
  await worker.upload(jobId, leaseToken, 0, bytes, { headers: { 'content-type': 'text/csv' } })
  await worker.report(jobId, 'complete', leaseToken, {})
  return jobId
}

const jobIds = async ({ service }: Open): Promise<string[]> =>
  (await service.askJson('/api/v1/jobs', { claims: other })).items.map(({ jobId }: Json) => jobId)

const erase = async (opened: Open): Promise<void> => {
  for (const jobId of await jobIds(opened)) {
    await opened.service.ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE', claims: other })
  }
}

t.test('examples/n8n holds the three workflows, whose nodes and connections exist', t => {
  t.same(readdirSync('examples/n8n').filter(name => name.endsWith('.json')).sort(), files)
  const document = readFileSync('docs/n8n.md', 'utf8')
  for (const file of files) {
    const { name, nodes, connections } = readWorkflow(file)
    t.ok(document.includes(file) && document.includes(name), `docs/n8n.md describes ${file}`)
    const names = nodes.map(node => node.name)
    t.equal(new Set(names).size, names.length)
    const linked = Object.entries(connections).flatMap(([from, { main }]) => [from, ...main.flat().map(({ node }) => node)])
    t.same(linked.filter(name => !names.includes(name)), [], 'no connection leads nowhere')
    t.same(names.filter(name => name !== 'Read me' && !linked.includes(name)), [], 'no node is apart')
    for (const node of nodes) {
      t.match(node.type, /^n8n-nodes-base\./, 'a built-in node')
      for (const { name } of Object.values(node.credentials ?? {})) t.equal(name, 'Job status service')
      if (node.name !== 'Settings') continue
      for (const { name } of node.parameters.assignments.assignments) t.ok(document.includes(`\`${name}\``), name)
    }
  }
  t.end()
})

for (const file of files) {
  t.test(`${file} ends with the file, or with how the job ended`, async t => {
    const opened = await open(t)
    const { service, worker, claim } = opened
    t.test('succeeded, with a file', async t => {
      const { last, item, path } = await runAndEnd(file, opened, () => succeed(opened))
      t.equal(last, 'Succeeded', path.join(', '))
      t.equal(item.binary?.data?.data.toString(), 'a,b\n1,2\n')
      t.match(item, { json: { outcome: 'succeeded', jobId: (await jobIds(opened))[0] }, binary: { data: { mimeType: 'text/csv' } } })
    })
    t.test('failed', async t => {
      const { last, item } = await runAndEnd(file, opened, async () => {
        const { jobId, leaseToken } = await claim()
        const error = { code: 'NO_PAPER', message: 'The tray is empty.' }
        await worker.report(jobId, 'fail', leaseToken, { error, retryable: false })
      })
      t.match({ last, ...item }, { last: 'Failed', json: { outcome: 'failed', code: 'NO_PAPER', message: 'The tray is empty.' } })
    })
    t.test('cancelled', async t => {
      const { last, item } = await runAndEnd(file, opened, async () => {
        const [jobId] = await jobIds(opened)
        await service.ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST', claims: other })
      })
      t.match({ last, ...item }, { last: 'Cancelled', json: { outcome: 'cancelled' } })
    })
    t.test('expired before the result was read', async t => {
      const { last, item, path } = await runAndEnd(file, opened, () => succeed(opened), {
        before: node => node === 'Download the result' ? erase(opened) : undefined
      })
      t.match({ last, ...item }, { last: 'Expired', json: { outcome: 'expired' } })
      t.ok(path.includes('Downloaded?'))
    })
    if (file === 'submit-and-wait.json') return
    t.test('expired before the status was read', async t => {
      const { last, path } = await runAndEnd(file, opened, () => succeed(opened), {
        before: node => node === 'Read the status' ? erase(opened) : undefined
      })
      t.equal(last, 'Expired')
      t.notOk(path.includes('Downloaded?'))
    })
  })
}

t.test('a 429 of any request is waited out for as long as it says', async t => {
  for (const file of files) {
    const opened = await open(t, { RATE_LIMIT_PER_MINUTE: '1' })
    const { service } = opened
    // A subject may send one request a minute. To n8n a minute is over when it has waited: the next subject follows.
    let minute = 0
    const claims = () => ({ ...n8n, sub: `n8n-${minute}`, tenant: 'n8n' })
    const pauses: Array<[node: string, ms: number]> = []
    await service.ask('/api/v1/jobs', { claims: claims() })
    const { last, path } = await runAndEnd(file, opened, () => succeed(opened), {
      token: () => token(claims()),
      onWait: async (node, waitMs) => {
        if (node === 'Wait for the callback') return
        pauses.push([node, waitMs])
        if (waitMs === 5000) minute++
      }
    })
    t.equal(last, 'Succeeded', path.join(', '))
    t.same(pauses, {
      'callback.json': [['Pause before submitting', 5000], ['Pause before asking', 5000], ['Pause before downloading', 5000]],
      'polling-loop.json': [['Pause before submitting', 5000], ['Wait', 1000], ['Wait', 5000], ['Pause before downloading', 5000]],
      'submit-and-wait.json': [['Pause before submitting', 5000], ['Pause before downloading', 5000]]
    }[file])
  }
})

t.test('a job that takes longer than one wait is asked for again', async t => {
  // One client of a tenant may wait at a time, and another one does when the job is submitted.
  const opened = await open(t, { WAITERS_MAX: '2' })
  const { service, start } = opened
  const blocker = await service.submit('other', 1, { claims: other })
  const ended = new AbortController()
  const blocking = service.ask(`/api/v1/jobs/${blocker}?wait=55`, { claims: other, signal: ended.signal }).catch(() => {})
  await awaitWaiting(service, 1)
  const { last, path } = await start('submit-and-wait.json', {
    before: async (node, run) => {
      if (node !== 'Wait for the end' || run > 0) return
      ended.abort()
      await blocking
      await awaitWaiting(service, 0)
      void awaitWaiting(service, 1).then(() => succeed(opened))
    }
  })
  t.equal(last, 'Succeeded', path.join(', '))
  t.same(path.filter(node => node === 'Wait for the end'), ['Wait for the end'])
})

t.test('a callback that comes before n8n waits is sent again, and one that never comes is replaced by a poll', async t => {
  const opened = await open(t)
  t.test('too early', async t => {
    const { last, answers } = await opened.start('callback.json', {
      before: async node => {
        if (node !== 'Wait for the callback') return
        await succeed(opened)
        await until(async () => {
          const [jobId] = await jobIds(opened)
          const { items } = await opened.service.askJson(`/api/v1/jobs/${jobId}/callbacks`, { claims: other })
          return items[0]?.lastStatus === 409
        }, 'the first call')
      }
    })
    t.equal(last, 'Succeeded')
    // On a busy machine the second call may come too early as well.
    t.same([...new Set(answers)], [409, 200])
  })
  t.test('never', async t => {
    let waits = 0
    const { last, path, answers } = await opened.start('callback.json', {
      onWait: async node => {
        if (node !== 'Wait for the callback') return
        if (++waits === 1) return 'elapsed'
        await succeed(opened)
      }
    })
    t.equal(last, 'Succeeded')
    t.equal(path.filter(node => node === 'Read the status').length, 2, 'the first poll found the job unfinished')
    t.same(answers, [200])
  })
  t.test('not allowed', async t => {
    const { start } = await open(t, { CALLBACK_HOSTS_ALLOWED: 'n8n.internal:5678' })
    const { last, item } = await start('callback.json')
    t.equal(last, 'Anything else')
    t.match(item.json.message, /callback/i)
  })
})

t.test('the execution ends when its time is up, and when the service does not answer', async t => {
  const { start } = await open(t)
  const { last, path } = await start('polling-loop.json', {}, { giveUpAt: '={{ $now.plus({ seconds: 4 }).toMillis() }}' })
  t.equal(last, 'Out of time')
  t.equal(path.filter(node => node === 'Read the status').length, 5, 'one second lies between two polls')
  const baseUrl = `http://127.0.0.1:${await freePort()}`
  for (const file of files) {
    const { last, item } = await execute(t, withSettings(readWorkflow(file), { baseUrl }), { token: () => token(n8n) })
    t.equal(last, 'Anything else')
    t.match(item.json.message, /ECONNREFUSED/)
  }
})
