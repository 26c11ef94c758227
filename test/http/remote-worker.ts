import { createHash } from 'node:crypto'
import type { Test } from 'tap'
import type { ContentInfo } from '../../src/job/job.ts'
import type { LeaseHeld } from '../../src/job/lease.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import type { RunOutcome } from '../../src/write/runs/run-outcome.ts'
import type { Service } from '../helpers/service.ts'
import { createParts } from '../helpers/parts.ts'
import { storeOn } from '../store/open.ts'
import { until } from '../helpers/until.ts'

// No lease ends during a test, however slow the machine is.
const leaseMs = 86_400_000

export const plain: ContentInfo = { contentType: 'text/plain; charset=utf-8', fileName: 'result.txt' }

const toFacts = (bytes: Buffer, kind: ContentInfo) =>
  ({
    ...kind,
    sizeBytes: bytes.byteLength,
    sha256: createHash('sha256').update(bytes)
      .digest('base64'),
    inlineJson: null
  })

/** Runs jobs of a type that the service itself does not run, on a connection of its own, and without its cache. */
export const openRemoteWorker = (t: Test, service: Service) => {
  const database = openDatabase(service.databasePath)
  t.teardown(database.close)
  const retentionMs = 100_000
  const clock = { ahead: 0 }
  let leases = 0
  const { claimJob, runJob, expireResults } = createParts(storeOn(database), {
    now: () => Date.now() + clock.ahead, nextId: () => ++leases, resultRetentionMs: retentionMs
  })
  const claim = async (type: string) => {
    const found = await until(
      async () => await claimJob({ types: [type], tenant: null }, 'remote', leaseMs) ?? undefined, 'a job to run'
    )
    return found
  }
  const append = (lease: LeaseHeld, offset: number, text: string, kind = plain) => runJob.append(
    lease, offset, Buffer.from(text), kind
  )
  const complete = (lease: LeaseHeld, outcome: RunOutcome) => runJob.complete(lease, outcome)
  let types = 0
  return {
    claim,
    append,
    complete,
    fail: (lease: LeaseHeld, retryable = false) => runJob.fail(lease, { code: 'E', message: 'e' }, retryable),
    /** Removes every stored result that there is, as if its time had come. */
    expireAll: async () => {
      clock.ahead = retentionMs
      while (await expireResults(100) > 0);
      clock.ahead = 0
    },
    /** A job under way, of a type of its own, and the service knows of it. */
    run: async () => {
      const type = `remote-${++types}`
      const jobId = await service.submit(type, {})
      const lease = await claim(type)
      await until(async () => (await service.askJson(`/api/v1/jobs/${jobId}`)).status === 'Running', 'the run')
      return { ...lease, type, jobId }
    },
    /** Ends a run with these bytes, of which the first may have been appended. */
    completeWith: async (lease: LeaseHeld, bytes: Buffer, kind = plain, appendedBytes = 0) => {
      if (bytes.byteLength > appendedBytes) {
        await runJob.append(lease, appendedBytes, bytes.subarray(appendedBytes), kind)
      }
      const facts = toFacts(bytes, kind)
      return await complete(lease, bytes.byteLength === 0
        ? {
            kind: 'given', facts, bytes
          }
        : { kind: 'appended', facts })
    }
  }
}
