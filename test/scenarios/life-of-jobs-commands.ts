import { createHash } from 'node:crypto'
import fc from 'fast-check'
import type { RunOutcome } from '../../src/write/runs/run-outcome.ts'
import { csv } from '../write/commands.ts'
import * as expected from './life-of-jobs-model.ts'
import { iso, type World } from './life-of-jobs-world.ts'

/*
 * Everything that can happen to jobs, in any order: what is done to the service, what the model makes of it, and how
 * both came out.
 */

export type Step = fc.AsyncCommand<expected.Model, World>

const step = <Args extends object>(
  name: string, args: fc.Arbitrary<Args>, run: (world: World, args: Args) => Promise<void>, isForeign = false
): fc.Arbitrary<Step> =>
    args.map(values => ({
      check: () => true,
      run: async (_model, world) => {
        await run(world, values)
        await world.check(isForeign)
      },
      toString: () => `${name} ${JSON.stringify(values)}`
    }))

const agree = (what: string, actual: unknown, wanted: unknown) => {
  if (JSON.stringify(actual) !== JSON.stringify(wanted)) {
    throw new Error(`${what}: ${JSON.stringify(actual)}, expected ${JSON.stringify(wanted)}`)
  }
}

/** The name of the error, where there is one. */
const outcomeOf = async <Value>(work: Promise<Value>): Promise<{ value: Value } | { error: string }> =>
  await work.then(value => ({ value }), (error: Error) => {
    if (['LeaseLost', 'OffsetMismatch', 'ResultBegun', 'ResultTorn', 'SqliteError'].includes(error.name)) {
      return { error: error.name }
    }
    throw error
  })

const factsOf = (text: string) => ({
  ...csv, sizeBytes: text.length, sha256: createHash('sha256').update(text).digest('base64'), inlineJson: null
})

const tenants = ['acme', 'other'] as const
const types = ['report', 'sanitize'] as const
const reaches: ReadonlyArray<readonly string[]> = [types, types, ['report'], ['sanitize']]
const tenant = fc.constantFrom(...tenants)
// Mostly for all of them.
const anyTenant = fc.constantFrom(null, null, null, ...tenants)
const pick = fc.nat({ max: 999 })
const none = fc.record({})

/** Any of the jobs that there have ever been. */
const pickJob = ({ model }: World, at: number): string | undefined => {
  const jobIds = [...model.rows.keys(), ...model.tombstones.keys()]
  return jobIds[at % Math.max(1, jobIds.length)]
}

/** A lease, mostly the latest that holds; now and then one of long ago. */
const pickLease = ({ model, claims }: World, at: number): { jobId: string, leaseToken: string } | undefined => {
  if (at % 8 === 0) return claims[at % Math.max(1, claims.length)]
  const held = claims.filter(({ jobId, leaseToken }) => expected.heldBy(model, jobId, leaseToken, false) !== undefined)
  return (at % 3 === 0 ? held[at % Math.max(1, held.length)] : held.at(-1)) ?? claims.at(-1)
}

async function * toStream (text: string) { yield Buffer.from(text) }

const submission = fc.record({
  tenant,
  type: fc.constantFrom(...types),
  maxAttempts: fc.integer({ min: 1, max: 3 }),
  timeoutSeconds: fc.constantFrom(undefined, undefined, 5),
  retentionSeconds: fc.option(fc.constantFrom(60, 200_000), { nil: undefined }),
  raw: fc.option(fc.constantFrom('', 'raw bytes'), { freq: 2, nil: undefined })
})
type Submitted = typeof submission extends fc.Arbitrary<infer Value> ? Value : never

const submitOne = async (
  world: World, { tenant, type, maxAttempts, timeoutSeconds, retentionSeconds, raw }: Submitted
) => {
  const { model } = world
  const service = world.service()
  const stored = raw === undefined ? undefined : await service.storeInput(toStream(raw), 'text/plain', raw.length)
  const submission = {
    type,
    input: {},
    maxAttempts,
    ...(timeoutSeconds && { timeoutSeconds }),
    ...(retentionSeconds && { retentionSeconds })
  }
  const { jobId, entry } = await service.submitJob(
    { subject: 'me', tenant, allTenants: false }, submission, null, stored
  )
  expected.submit(model, jobId, {
    order: world.claims.length + world.steps() * 1000 + model.queue.size,
    type,
    tenant,
    maxAttempts,
    timeoutMs: timeoutSeconds === undefined ? null : timeoutSeconds * 1000,
    retentionMs: retentionSeconds === undefined ? Infinity : retentionSeconds * 1000,
    input: raw ?? ''
  })
  agree('a submitted job', [entry.jobId, entry.state], [jobId, 'queued'])
}

const submit = step('submit', submission, submitOne)

type Claimed = { types: readonly string[], tenant: string | null, holder: string, leaseMs: number, atOnce: number }

const claimSome = async (world: World, { types, tenant, holder, leaseMs, atOnce }: Claimed) => {
  const { model } = world
  const service = world.service()
  // Several who ask at the same time: each job goes to one of them.
  const got = await Promise.all(
    Array.from({ length: atOnce }, () => service.claimJob({ types, tenant }, holder, leaseMs))
  )
  const wanted = got.map(claim => {
    const jobId = expected.claim(model, types, tenant, { holder, leaseMs })
    const lease = jobId === undefined ? undefined : model.queue.get(jobId)?.lease
    if (lease != null) lease.token = claim?.leaseToken ?? ''
    return jobId
  })
  agree('claimed', got.map(claim => claim?.jobId), wanted)
  for (const each of got) {
    if (each === null) continue
    world.claims.push(each)
    agree('attempt', each.attempt, model.rows.get(each.jobId)?.attempt)
    const raw = each.raw === null ? '' : String(Buffer.concat(await Array.fromAsync(service.inputs.read(each.raw))))
    agree('input', raw, model.queue.get(each.jobId)?.input)
  }
}

const claim = step('claim', fc.record({
  types: fc.constantFrom(...reaches),
  tenant: anyTenant,
  holder: fc.constantFrom('embedded', 'w1', 'w2'),
  leaseMs: fc.constantFrom(1000, 30_000, 30_000),
  atOnce: fc.constantFrom(1, 1, 3)
}), claimSome)

const begin = step('begin', fc.record({
  submission, leaseMs: fc.constantFrom(30_000, 600_000)
}), async (world, { submission, leaseMs }) => {
  await submitOne(world, submission)
  await claimSome(world, { types, tenant: null, holder: 'w1', leaseMs, atOnce: 1 })
})

const stateOf = (model: expected.Model, jobId: string) => expected.shownOfModel(model, jobId).state

/** A report on a run: what the service says to it, against what the model makes of it; undefined: the lease is lost. */
const report = <Args extends object>(
  name: string,
  args: fc.Arbitrary<Args>,
  run: (
    service: ReturnType<World['service']>, lease: { jobId: string, leaseToken: string }, args: Args
  ) => Promise<unknown>,
  make: (
    model: expected.Model, jobId: string, held: NonNullable<ReturnType<typeof expected.heldBy>>, args: Args
  ) => unknown,
  needsRunning: (args: Args) => boolean = () => true,
  endOf?: (args: Args) => string
) => step(name, fc.tuple(pick, args).map(([at, args]) => ({ at, ...args })), async (world, args) => {
    const lease = pickLease(world, args.at)
    if (lease === undefined) return
    const { jobId, leaseToken } = lease
    const held = expected.heldBy(world.model, jobId, leaseToken, needsRunning(args))
    const before = held?.lease.expiresAt
    if (held !== undefined) expected.prolong(world.model, held.lease)
    const end = endOf?.(args)
    const isRepeated = held === undefined && end !== undefined && world.model.ends.get(leaseToken)?.report === end
    const late = () => isRepeated ? stateOf(world.model, jobId) : { error: 'LeaseLost' }
    const wanted = held === undefined ? late() : make(world.model, jobId, held, args)
    const isRefused = typeof wanted === 'object' && wanted !== null && 'error' in wanted
    if (held !== undefined && !isRefused && end !== undefined) world.model.ends.set(leaseToken, { jobId, report: end })
    if (isRefused && held !== undefined && before !== undefined) held.lease.expiresAt = before
    else if (!isRefused && ['progress', 'append'].includes(name)) world.onEvent(name)
    agree(`${name} of ${jobId}`, await outcomeOf(run(world.service(), lease, args)), isRefused
      ? wanted
      : { value: wanted })
  })

const state = ({ item }: { item: expected.Queued }) =>
  ({ leaseExpiresAt: item.lease?.expiresAt, cancelRequested: item.cancelDueAt !== null })

const heartbeat = report(
  'heartbeat', none, ({ runJob }, lease) => runJob.heartbeat(lease), (_model, _jobId, held) => state(held)
)

const percent = fc.integer({ min: 0, max: 100 })
const progress = report('progress', fc.oneof(
  percent.map(percent => ({ percent })), fc.record({ done: percent, total: percent }), percent.map(done => ({ done })),
  none
), ({ runJob }, lease, { percent, done, total }: expected.Update) =>
  runJob.progress(lease, {
    ...(percent !== undefined && { percent }),
    ...(done !== undefined && { done }),
    ...(total !== undefined && { total })
  }),
(model, _jobId, held, update: expected.Update) => {
  expected.progress(model, held.row, update)
  return state(held)
})

const append = report('append', fc.record({
  text: fc.constantFrom('', 'abc', 'de'),
  isInPlace: fc.nat({ max: 4 }).map(n => n > 0),
  isAnew: fc.nat({ max: 5 }).map(n => n === 0)
}),
async ({ runJob, database }, lease, { text, isInPlace, isAnew }) => {
  const end = database.reader.prepare('SELECT coalesce(sum(length(bytes)), 0) FROM JobResultChunk WHERE jobId = ?')
    .pluck().get(lease.jobId) as number
  return await runJob.append(lease, isAnew ? 0 : isInPlace ? end : end + 1, Buffer.from(text), csv)
},
(model, jobId, { row }, { text, isInPlace, isAnew }) => {
  const sent = model.sent.get(jobId) ?? ''
  if (isAnew ? sent !== '' : !isInPlace) return { error: 'OffsetMismatch' }
  if (sent === '' && text !== '') {
    // Only with its first bytes is it looked at what the record says.
    if (!row.isOurs || row.status !== 'Running') return { error: 'LeaseLost' }
    row.hasPartial = true
  }
  model.sent.set(jobId, sent + text)
  const cancelRequested = row.isOurs && row.status === 'Running' && row.cancelRequestedAt !== null
  return { sizeBytes: sent.length + text.length, cancelRequested }
}, () => false)

type End = 'appended' | 'given' | 'external' | 'none'

const toOutcome = (kind: End, sent: string): RunOutcome => {
  switch (kind) {
    case 'appended': return { kind, facts: factsOf(sent) }
    case 'given': return { kind, facts: factsOf('{"a":1}'), bytes: Buffer.from('{"a":1}') }
    case 'external': return { kind, url: 'https://x.example/r' }
    case 'none': return { kind }
  }
}

const complete = report('complete', fc.record({
  kind: fc.constantFrom<End>('appended', 'appended', 'given', 'external', 'none')
}),
async ({ runJob, database }, lease, { kind }) => {
  const chunks = database.reader.prepare('SELECT bytes FROM JobResultChunk WHERE jobId = ? ORDER BY startOffset')
    .pluck().all(lease.jobId) as Uint8Array[]
  return (await runJob.complete(lease, {
    ...toOutcome(kind, String(Buffer.concat(chunks))), counts: { script: 2, nothing: 0 }
  })).state
},
(model, jobId, { row, item }, { kind }) => {
  const sent = model.sent.get(jobId) ?? ''
  if (!row.isOurs || row.status !== 'Running') return { error: 'LeaseLost' }
  if (kind !== 'appended' && sent !== '') return { error: 'ResultBegun' }
  const url = `/api/v1/jobs/${jobId}/result`
  const [result, resultUrl] = {
    appended: [sent, url], given: ['{"a":1}', url], external: [null, 'https://x.example/r'], none: [null, null]
  }[kind] as [string | null, string | null]
  expected.complete(model, jobId, row, item, result, resultUrl)
  return 'succeeded'
}, () => false, ({ kind }) => kind === 'appended' ? 'none' : kind)

const fail = report('fail', fc.record({ isRetryable: fc.boolean() }),
  async ({ runJob }, lease, { isRetryable }) =>
    (await runJob.fail(lease, { code: 'E_TEST', message: 'm' }, isRetryable)).state,
  (model, jobId, { row }, { isRetryable }) => {
    expected.fail(model, jobId, row, isRetryable)
    return stateOf(model, jobId)
  }, () => true, ({ isRetryable }) => `fail ${isRetryable}`)

const release = report('release', none, async ({ runJob }, lease) => (await runJob.release(lease)).state, (
  model, jobId, { row }
) => {
  expected.release(model, jobId, row)
  return stateOf(model, jobId)
}, () => true, () => 'release')

const cancel = step('cancel', fc.record({ at: pick, by: anyTenant }), async (world, { at, by }) => {
  const jobId = at % 2 === 0 ? pickLease(world, at + 1)?.jobId : pickJob(world, at)
  if (jobId === undefined) return
  const row = world.model.rows.get(jobId)
  const isAllowed = by === null || row === undefined || !row.isOurs || row.tenant === by
  const { outcome } = await world.service().cancelJob(jobId, tenant => by === null || tenant === by)
  agree(`cancel of ${jobId}`, outcome, isAllowed ? expected.cancel(world.model, jobId) : 'forbidden')
})

const erase = step('erase', fc.record({ at: pick, by: anyTenant }), async (world, { at, by }) => {
  const jobId = pickJob(world, at)
  if (jobId === undefined) return
  const row = world.model.rows.get(jobId)
  const { outcome } = await world.service().eraseJob(jobId, tenant => by === null || tenant === by)
  const isHidden = row === undefined || (by !== null && row.tenant !== by)
  agree(`erasure of ${jobId}`, outcome, isHidden ? 'forbidden' : expected.isFinal(row.status) ? 'erased' : 'active')
  if (outcome === 'erased') expected.remove(world.model, jobId)
})

const pass = step('pass', fc.record({
  ms: fc.constantFrom(1, 400, 1000, 1000, 2000, 2000, 5000, 30_000, 60_000, 3_600_000, 86_400_000)
}), async (world, { ms }) => {
  world.model.now += ms
  world.setClock()
})

const passUntil = step('pass until', fc.record({
  by: fc.constantFrom(-1, 0, 0, 1), nth: fc.constantFrom(0, 0, 0, 1, 2)
}), async (world, { by, nth }) => {
  const due = expected.nextDue(world.model, nth)
  if (due === undefined) return
  world.model.now = Math.max(world.model.now, due + by)
  world.setClock()
})

const rescue = step('rescue', fc.record({
  holder: fc.constantFrom(undefined, undefined, undefined, undefined, 'embedded', 'w1')
}), async (world, { holder }) => {
  await world.service().rescueJobs(holder)
  expected.rescue(world.model, holder)
})

const prune = step('prune', none, async world => {
  await world.service().prune()
  expected.prune(world.model)
}, true)

const expire = step('expire', none, async world => {
  while (await world.service().expireResults(2) > 0);
  expected.expireResults(world.model)
})

const fetchResult = step('fetch', fc.record({ at: pick }), async (world, { at }) => {
  const done = [...world.model.rows].filter(([, { status, isOurs }]) => status === 'Succeeded' && isOurs)
  const [jobId, row] = done[at % Math.max(1, done.length)] ?? []
  if (jobId === undefined || row === undefined) return
  const text = row.result ?? 'abc'
  const { sha256, sizeBytes } = factsOf(text)
  const read = Array.fromAsync(world.service().results.read({ jobId, sha256 }, 0, sizeBytes)).then(
    chunks => String(Buffer.concat(chunks))
  )
  agree(`the result of ${jobId}`, await outcomeOf(read), row.result === null
    ? {
        error: 'ResultTorn'
      }
    : { value: text })
})

// A client that went away in the middle: nothing of it is left once its time has come.
const breakOff = step('break off', none, async world => {
  await world.service().storeInput(toStream('never submitted'), 'text/plain', 0)
})

const foreignStatus = fc.constantFrom<expected.Status>('Queued', 'Running', 'Succeeded', 'Failed')

const foreignWrite = step('foreign status', fc.record({
  at: pick, status: foreignStatus
}), async (world, { at, status }) => {
  const jobId = pickJob(world, at)
  if (jobId === undefined) return
  const end = expected.isFinal(status) ? `, endTime = '${iso(world.model.now)}'` : ''
  const run = async () => {
    world.foreign(`UPDATE JobExecutionLog SET status = ?${end} WHERE jobId = ?`, status, jobId)
  }
  agree(`${status} by another`, 'error' in await outcomeOf(run()), !expected.writeStatus(world.model, jobId, status))
}, true)

const foreignPlace = step('foreign row', fc.record({
  at: pick, status: foreignStatus, tenant: fc.option(tenant), verb: fc.constantFrom('REPLACE', 'DELETE', 'new', 'new')
}), async (world, { at, status, tenant, verb }) => {
  const { model } = world
  const jobId = verb === 'new' ? `foreign-${at % 5}` : pickJob(world, at)
  if (jobId === undefined) return
  if (verb === 'DELETE') {
    world.foreign('DELETE FROM JobExecutionLog WHERE jobId = ?', jobId)
    return expected.remove(model, jobId)
  }
  const end = expected.isFinal(status) ? iso(model.now) : null
  const run = async () => {
    world.foreign(
      'REPLACE INTO JobExecutionLog (jobId, status, tenant, createdAt, endTime) VALUES (?, ?, ?, ?, ?)', jobId, status,
      tenant, iso(model.now), end
    )
  }
  agree('a row by another', 'error' in await outcomeOf(run()), !expected.writeRow(model, jobId, status, tenant))
}, true)

const foreignFacts = step('foreign facts', fc.record({
  at: pick, tenant: fc.option(tenant), percent: fc.integer({ min: 1, max: 100 })
}), async (world, { at, tenant, percent }) => {
  const jobId = pickJob(world, at)
  const row = jobId === undefined ? undefined : world.model.rows.get(jobId)
  if (row === undefined) return
  world.foreign('UPDATE JobExecutionLog SET tenant = ?, progressPercent = ? WHERE jobId = ?', tenant, percent, jobId)
  Object.assign(row, { tenant, progress: { ...row.progress, percent } })
}, true)

const relay = step('relay', none, async world => { await world.relay() })
const restart = step('restart', none, async world => { await world.restart() })

/** Any step; those that keep jobs moving are the likelier ones. */
export const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: submit },
  { weight: 7, arbitrary: begin },
  { weight: 6, arbitrary: claim },
  { weight: 2, arbitrary: heartbeat },
  { weight: 7, arbitrary: progress },
  { weight: 6, arbitrary: append },
  { weight: 6, arbitrary: complete },
  { weight: 3, arbitrary: fail },
  { weight: 1, arbitrary: release },
  { weight: 4, arbitrary: cancel },
  { weight: 1, arbitrary: erase },
  { weight: 3, arbitrary: pass },
  { weight: 8, arbitrary: passUntil },
  { weight: 4, arbitrary: rescue },
  { weight: 4, arbitrary: prune },
  { weight: 2, arbitrary: expire },
  { weight: 1, arbitrary: fetchResult },
  { weight: 1, arbitrary: breakOff },
  { weight: 2, arbitrary: foreignWrite },
  { weight: 2, arbitrary: foreignPlace },
  { weight: 1, arbitrary: foreignFacts },
  { weight: 3, arbitrary: relay },
  { weight: 1, arbitrary: restart }
)
