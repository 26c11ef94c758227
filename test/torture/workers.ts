import { setTimeout as delay } from 'node:timers/promises'
import type { Answer } from './client.ts'
import type { Hold } from './history.ts'
import { type Actor, pickNode, readBack, type Stage } from './workload.ts'

const watchedMax = 4

// Pollers look at few jobs at a time: what goes wrong is a matter of what happens to one of them at once.
const watch = ({ watched }: Pick<Stage, 'watched'>, job: number): void => {
  watched.push(job)
  if (watched.length > watchedMax) watched.shift()
}

type Claim = { jobId: string, attempt: number, leaseToken: string, leaseExpiresAt: string }
type Held = { job: number, claim: Claim, hold: Hold }

// Their clock is ours, but not counted from the same moment.
const toOwnClock = (iso: string): number => Date.parse(iso) - Date.now() + performance.now()

const report = async (actor: Actor, { job, claim }: Held, what: string, body: unknown): Promise<Answer> => {
  const node = pickNode(actor)
  const answer = await actor.ask(node, `/api/v1/worker/jobs/${claim.jobId}/${what}`, {
    method: 'POST', headers: { 'lease-token': claim.leaseToken }, body
  })
  if (answer.status !== 200) {
    actor.recorder.refuse({ what, node: node.index, answer }, [409])
    return answer
  }
  const percent = (body as { percent?: number }).percent ?? 0
  const position = what === 'progress' ? claim.attempt * 1000 + Math.min(99, percent) : claim.attempt * 1000 + 500
  actor.recorder.write({
    kind: 'write', job, node: node.index, what: `${what} ${JSON.stringify(body)}`, answer, position
  })
  return answer
}

const end = async (actor: Actor, held: Held, mustEnd: boolean): Promise<void> => {
  const { random } = actor
  const choice = random.next()
  // It vanishes: the lease has to run out.
  if (choice < 0.1 && !mustEnd) return
  held.hold.until = Math.min(held.hold.until, performance.now())
  const failure = { error: { code: 'OOPS', message: 'x' }, retryable: choice < 0.3 }
  for (let trial = 0; trial < 5; trial++) {
    const answer = choice < 0.4 && !mustEnd
      ? await report(actor, held, 'fail', failure)
      : await report(actor, held, 'complete', { result: held.claim.attempt })
    if (answer.status === 200) await readBack(actor, held.job)
    if (answer.status === 200 || answer.status === 409) return
    await delay(50)
  }
}

const drive = async (actor: Actor, held: Held, isDraining: boolean): Promise<void> => {
  const { random } = actor
  const steps = isDraining ? 0 : random.between(1, 12)
  let percent = 0
  for (let step = 0; step < steps; step++) {
    await delay(random.between(0, 30))
    percent = Math.min(100, percent + random.between(0, 12))
    const answer = await report(actor, held, 'progress', random.chance(0.15) ? {} : { percent })
    if (answer.status === 409) return
    if (answer.status !== 200) continue
    const { leaseExpiresAt, cancelRequested } = JSON.parse(answer.text) as {
      leaseExpiresAt: string, cancelRequested: boolean
    }
    held.hold.until = Math.max(held.hold.until, toOwnClock(leaseExpiresAt))
    await readBack(actor, held.job)
    if (cancelRequested) break
  }
  await end(actor, held, isDraining)
}

/** Claims jobs, reports on them through any process, and ends them in every way there is. */
export const runWorker = async (actor: Actor, isDraining: () => boolean): Promise<void> => {
  const { ask, recorder, random, isStopped } = actor
  while (!isStopped()) {
    const node = pickNode(actor)
    const answer = await ask(node, '/api/v1/worker/claim', {
      method: 'POST', body: { types: ['torture'], leaseSeconds: random.between(1, 2) }
    })
    if (answer.status !== 200) {
      if (answer.status !== 204) recorder.refuse({ what: 'claim', node: node.index, answer })
      await delay(random.between(10, 40))
      continue
    }
    const claim = JSON.parse(answer.text) as Claim
    const job = recorder.toJob(claim.jobId)
    recorder.write({
      kind: 'write', job, node: node.index, what: `claim ${claim.attempt}`, answer, position: claim.attempt * 1000
    })
    const hold: Hold = {
      job,
      attempt: claim.attempt,
      holder: claim.leaseToken,
      from: answer.endedAt,
      until: toOwnClock(
        claim.leaseExpiresAt
      )
    }
    recorder.holds.push(hold)
    watch(actor, job)
    await readBack(actor, job)
    await drive(actor, { job, claim, hold }, isDraining())
  }
}
