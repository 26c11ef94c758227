import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import { openEventStream, toEventText } from '../../src/http/event-stream.ts'
import { createSchedulePings } from '../../src/http/pings.ts'
import { createClient } from '../helpers/client.ts'
import { openEvents } from '../helpers/events.ts'
import { startService } from '../helpers/service.ts'
import { insertRows } from '../http/rows.ts'
import { startProxy } from '../torture/proxy.ts'

/*
 * Streams of events behind proxies: one that passes on each byte as it comes, and one that cuts connections which carry
 * nothing for 20 s, by a clock that the test moves.
 */

const idleMsMax = 20_000

const createClock = () => {
  let now = 0
  let timers: Array<{ at: number, work: () => void }> = []
  return {
    schedule: (work: () => void, ms: number) => {
      const timer = { at: now + ms, work }
      timers.push(timer)
      return { cancel: () => { timers = timers.filter(each => each !== timer) } }
    },
    /** Moves the clock on, one timer after the other: those that go off may set others. */
    advance: (ms: number) => {
      const end = now + ms
      for (;;) {
        const [next] = timers.toSorted((a, b) => a.at - b.at)
        if (next === undefined || next.at > end) break
        timers = timers.filter(each => each !== next)
        now = next.at
        next.work()
      }
      now = end
    }
  }
}

type Schedule = ReturnType<typeof createClock>['schedule']

const startIdleProxy = async (t: Test, targetPort: number, schedule: Schedule): Promise<string> => {
  const server = createServer(client => {
    const upstream = connect({ port: targetPort, host: '127.0.0.1' })
    const cut = () => { for (const socket of [client, upstream]) socket.destroy() }
    let idle = schedule(cut, idleMsMax)
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      from.on('error', () => {})
      from.on('close', cut)
      from.on('data', chunk => {
        idle.cancel()
        idle = schedule(cut, idleMsMax)
        to.write(chunk)
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A stream behind the proxy; its pings are due by the clock, or never. */
const openBehindProxy = async (t: Test, hasPings: boolean) => {
  const { schedule, advance } = createClock()
  const app = fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  const opened = Promise.withResolvers<ReturnType<typeof openEventStream>>()
  app.get('/', (_request, reply) => {
    opened.resolve(openEventStream({
      reply,
      wait: { ended: new Promise(() => {}), leave: () => {} },
      addCorsFields: null,
      schedulePings: hasPings ? createSchedulePings(schedule) : () => ({ cancel: () => {} }),
      onReady: () => {},
      onEnd: () => {}
    }))
  })
  const target = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const url = await startIdleProxy(t, Number(target.port), schedule)
  const events = await openEvents(createClient(url), '/')
  t.match(await events.readBlock(), /^retry: /)
  return { ...events, stream: await opened.promise, advance }
}

t.test('pings keep a stream open that a proxy would cut after 20 s', async t => {
  const { stream, advance, readBlock, next, close } = await openBehindProxy(t, true)
  for (let ping = 0; ping < 20; ping++) {
    advance(15_000)
    t.equal(await readBlock(), ': ping')
  }
  stream.send(toEventText({ event: 'status', id: 'a.1', data: '{}' }))
  t.match(await next(), { event: 'status', id: 'a.1' })
  await close()
})

t.test('without pings the proxy cuts the stream', async t => {
  const { advance, next } = await openBehindProxy(t, false)
  const ended = next()
  advance(idleMsMax)
  await t.rejects(ended)
})

t.test('behind a proxy that buffers nothing each event is there before the next change', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const proxy = await startProxy(Number(new URL(service.url).port))
  t.teardown(proxy.close)
  const client = createClient(`http://127.0.0.1:${proxy.port}`)
  await insertRows(service, { jobId: 'job-1', status: 'Running' })
  const { cursor } = await client.askJson('/api/v1/events')
  const job = await openEvents(client, '/api/v1/jobs/job-1/events')
  const feed = await openEvents(client, `/api/v1/events?since=${cursor}`, { headers: { accept: 'text/event-stream' } })
  t.match(await job.next(), { event: 'status' })
  for (const change of ['progressPercent = 10', 'progressPercent = 20', "status = 'Succeeded'"]) {
    await service.sql(`UPDATE JobExecutionLog SET ${change} WHERE jobId = 'job-1'`)
    const [ofJob, ofAll] = await Promise.all([job.next(), feed.next()])
    t.same(JSON.parse(ofAll?.data ?? '{}').job, JSON.parse(ofJob?.data ?? '{}'), change)
  }
  t.equal(await job.next(), undefined, 'the end passes too')
  await feed.close()
})
