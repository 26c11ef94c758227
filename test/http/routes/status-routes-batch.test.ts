import { setImmediate as endOfTick } from 'node:timers/promises'
import fastify from 'fastify'
import pino from 'pino'
import t, { type Test } from 'tap'
import { createBatchPerTick, statusRoutes, type StatusRouteNeeds } from '../../../src/http/routes/status-routes.ts'
import { entryAt } from '../../cache/conformance.ts'
import type { Json } from '../../helpers/client.ts'

t.test('does the work of one tick in order at its end, and what that asks for at the end of the next', async t => {
  const atEndOfTick = createBatchPerTick(() => {})
  const done: string[] = []
  atEndOfTick(() => {
    done.push('a')
    atEndOfTick(() => { done.push('of a') })
  })
  atEndOfTick(() => { done.push('b') })
  t.same(done, [])
  await endOfTick()
  t.same(done, ['a', 'b'])
  await endOfTick()
  t.same(done, ['a', 'b', 'of a'])
})

t.test('work that throws is reported, and does not keep the other work of its tick from being done', async t => {
  const errors: unknown[] = []
  const atEndOfTick = createBatchPerTick(error => { errors.push(error) })
  const done: string[] = []
  const failure = new Error('broken')
  atEndOfTick(() => { done.push('a') })
  atEndOfTick(() => { throw failure })
  atEndOfTick(() => { done.push('c') })
  await endOfTick()
  t.same(done, ['a', 'c'])
  t.same(errors, [failure])
})

const principal = { subject: 'ann', tenant: 'acme', scopes: ['jobs:read'], allTenants: false, expiresAt: Infinity }
const representationOf = (entry: ReturnType<typeof entryAt>) =>
  ({ representation: { view: 'v1', entry, eTag: '"1"', link: '</x>; rel="status"' } as const, condition: undefined })

/** The status routes with a status of the test's. Returns what reads a job, and the lines of the log. */
const serve = async (t: Test, needs: Partial<StatusRouteNeeds>) => {
  const lines: Json[] = []
  const app = fastify({ forceCloseConnections: true })
  app.log = pino({}, { write: line => { lines.push(JSON.parse(line)) } })
  app.decorateRequest('principal', null)
  app.addHook('onRequest', (request, _reply, done) => {
    request.principal = principal
    done()
  })
  app.addSchema({ $id: 'JobStatus' }).addSchema({ $id: 'TaskStatus' }).addSchema({ $id: 'Problem' }).addSchema({
    $id: 'TaskError'
  })
  const readVisible = () => representationOf(entryAt(1))
  await app.register(statusRoutes, {
    statusAccess: {
      readVisible,
      awaitVisible: async () => readVisible()
    },
    logResponse: () => {},
    isDraining: () => false,
    addCorsFields: null,
    waitingClients: { admit: () => null, endAll: () => {} },
    onShown: () => {},
    now: () => 0,
    ...needs
  })
  t.teardown(() => app.close())
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { ask: (jobId: string) => fetch(`${url}/api/v1/jobs/${jobId}`), lines }
}

t.test('a poll that fails while its response is written ends its connection, is logged, and leaves the others alone', async t => {
  // Its length can be taken, and Node does not write it.
  const broken = entryAt(1, { v1Body: new ArrayBuffer(3) as unknown as string })
  for (const [what, toResult] of Object.entries({
    'at once': <V>(value: V) => value, 'from a promise': async <V>(value: V) => await Promise.resolve(value)
  })) {
    const { ask, lines } = await serve(t, {
      statusAccess: {
        readVisible: (_view, id) => toResult(representationOf(id === 'broken' ? broken : entryAt(1))),
        awaitVisible: async () => representationOf(entryAt(1))
      }
    })
    const [first, second, third] = await Promise.allSettled([ask('a'), ask('broken'), ask('b')])
    t.match(
      [first, third],
      [{ status: 'fulfilled', value: { status: 200 } }, { status: 'fulfilled', value: { status: 200 } }], what
    )
    t.match(second, { status: 'rejected' }, what)
    t.match(lines.filter(({ level }) => level === 50), [{
      msg: 'the request failed',
      err: {
        code: 'ERR_INVALID_ARG_TYPE'
      }
    }], what)
  }
})

t.test('a poll whose response cannot be logged has its response all the same', async t => {
  const { ask, lines } = await serve(t, { logResponse: () => { throw new Error('no log') } })
  t.equal((await ask('a')).status, 200)
  t.match(lines.filter(({ level }) => level === 50), [{ msg: 'the request failed', err: { message: 'no log' } }])
})
