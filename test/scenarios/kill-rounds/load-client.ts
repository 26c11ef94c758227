import { createWorkerClient, workerClaims, type Client } from '../../helpers/client.ts'
import type { Random } from '../../helpers/random.ts'
import { absent, contentOf, type Driven, type Facts, givenResult } from './acknowledged.ts'

type Service = Pick<Client, 'ask'>

/** A command on a job, and what it comes to. */
type Step = { send: (service: Service, job: Driven) => Promise<unknown>, toFacts: (facts: Facts, job: Driven) => Facts }

/** A response that no sound service gives to this command. */
export class UnexpectedAnswer extends Error {}

const requireAnswer = async (answer: Promise<Response>, status: number) => {
  const { status: found, text } = await answer.then(async response => ({
    status: response.status, text: await response.text()
  }))
  if (found !== status) throw new UnexpectedAnswer(`${found} in place of ${status}: ${text}`)
  // What an upload of nothing, or an erasure, answers is empty.

  return (text === '' ? {} : JSON.parse(text))
}

const claims = workerClaims
// Each job has a type of its own, so a claim gets the job that is meant.
const typeOf = ({ key }: Driven): string => key
const report = (command: string, body?: unknown): Step['send'] => ({ ask }, { jobId, leaseToken }) =>
  requireAnswer(createWorkerClient({ ask }).report(jobId ?? '', command, leaseToken, body), 200)

const submit: Step = {
  send: async ({ ask }, job) => {
    const body = { type: typeOf(job), input: { serial: job.serial } }
    job.jobId = (await requireAnswer(ask('/api/v1/jobs', {
      method: 'POST', claims, body, headers: { 'idempotency-key': job.key }
    }), 202)).jobId
  },
  toFacts: () => ({ ...absent, state: 'Queued' })
}

const claim: Step = {
  send: async ({ ask }, job) => {
    const claimed = await requireAnswer(createWorkerClient({ ask }).claim({
      types: [typeOf(job)], leaseSeconds: 3600
    }), 200)
    if (claimed.jobId !== job.jobId) throw new UnexpectedAnswer(`${claimed.jobId} was claimed in place of ${job.jobId}`)
    job.leaseToken = claimed.leaseToken
  },
  toFacts: facts => ({ ...facts, state: 'Running', attempt: facts.attempt + 1 })
}

const progress = (percent: number): Step => ({
  send: report('progress', { percent }), toFacts: facts => ({ ...facts, percent })
})

const upload = (length: number): Step => ({
  send: ({ ask }, { jobId, leaseToken, serial, acknowledged: { bytes } }) => requireAnswer(
    createWorkerClient({ ask }).upload(jobId ?? '', leaseToken, bytes, contentOf(serial, bytes + length).slice(bytes), {
      headers: { 'content-type': 'text/plain' }
    }), 200),
  toFacts: facts => ({ ...facts, bytes: facts.bytes + length })
})

const complete: Step = { send: report('complete'), toFacts: facts => ({ ...facts, state: 'Succeeded', percent: 100 }) }

const give: Step = {
  send: (service, job) => report('complete', { result: JSON.parse(givenResult(job.serial)) })(service, job),
  toFacts: (facts, { serial }) => ({ ...facts, state: 'Succeeded', percent: 100, bytes: givenResult(serial).length })
}

const fail = (retryable: boolean): Step => ({
  send: report('fail', { error: { code: 'E_TEST', message: 'as planned' }, retryable }),
  toFacts: facts => ({
    ...facts,
    bytes: 0,
    cancelAsked: false,
    ...facts.cancelAsked
      ? { state: 'Failed', code: 'JOB_CANCELLED' }
      : retryable ? { state: 'Queued', percent: 0 } : { state: 'Failed', code: 'E_TEST' }
  })
})

const cancel: Step = {
  send: ({ ask }, { jobId, acknowledged: { state } }) =>
    requireAnswer(ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST', claims }), state === 'Running' ? 202 : 200),
  toFacts: facts => facts.state === 'Running'
    ? { ...facts, cancelAsked: true }
    : { ...facts, state: 'Failed', code: 'JOB_CANCELLED' }
}

const erase: Step = {
  send: ({ ask }, { jobId }) => requireAnswer(ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE', claims }), 204),
  toFacts: () => ({ ...absent, state: 'gone' })
}

const toSteps = (random: Random): Step[] => {
  const length = () => 1 + Math.floor(random.next() ** 4 * 200_000)
  const uploads = [progress(10), upload(length()), progress(40), upload(length()), complete]
  const ways: Step[][] = [
    [claim, ...uploads],
    [claim, ...uploads, erase],
    [claim, progress(50), give],
    [cancel, erase],
    [claim, progress(20), fail(false)],
    [claim, upload(length()), fail(true)],
    [claim, cancel, progress(30), fail(true), erase]
  ]
  return [submit, ...random.pick(ways)]
}

type Planned = Driven & { steps: Step[] }

const newJob = (serial: number, random: Random): Planned => ({
  serial,
  key: `job-${serial}`,
  jobId: null,
  leaseToken: null,
  acknowledged: absent,
  underWay: null,
  seen: 0,
  done: 0,
  steps: toSteps(random)
})

const poll = async ({ ask }: Service, job: Planned): Promise<void> => {
  const answer = await ask(`/api/v1/jobs/${job.jobId}`, { claims })
  await answer.arrayBuffer()
  const version = Number(answer.headers.get('etag')?.split('.')[1] ?? 0)
  // A version that was shown counts like an acknowledgement.
  job.seen = Math.max(job.seen, version)
}

/**
 * A client that makes jobs and drives them, one command after the other, until its service is gone. `onAcknowledged` is
 * called for every acknowledged write; an unexpected response is thrown.
 */
export const createLoadClient = (random: Random, nextSerial: () => number, onAcknowledged: () => void) => {
  const jobs: Planned[] = []

  const command = async (service: Service, job: Planned, step: Step): Promise<void> => {
    job.underWay = step.toFacts(job.acknowledged, job)
    await step.send(service, job)
    job.acknowledged = job.underWay
    job.underWay = null
    job.done++
    onAcknowledged()
  }

  const run = async (service: Service): Promise<void> => {
    for (;;) {
      let job = jobs.at(-1)
      if (job === undefined || job.done === job.steps.length) {
        job = newJob(nextSerial(), random)
        jobs.push(job)
      }
      const step = job.steps[job.done]
      if (step !== undefined) await command(service, job, step)
      if (random.chance(0.3)) await poll(service, job)
    }
  }

  return {
    jobs,
    /** Resolves when the service is gone. */
    drive: async (service: Service): Promise<void> => {
      await run(service).catch((error: unknown) => {
        // The rest is how a connection ends: refused, reset, or in the middle of an answer.
        if (error instanceof UnexpectedAnswer) throw error
      })
    }
  }
}

export type LoadClient = ReturnType<typeof createLoadClient>
