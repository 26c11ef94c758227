import { attemptsConformance } from './attempts.ts'
import { callbacksConformance } from './callbacks.ts'
import { changesConformance } from './changes.ts'
import { claimsConformance } from './claims.ts'
import { epochConformance } from './epoch.ts'
import { findConformance } from './find.ts'
import { idempotencyConformance } from './idempotency.ts'
import { inputsConformance } from './inputs.ts'
import { listsConformance } from './lists.ts'
import { ownKeysConformance } from './own-keys.ts'
import { queueConformance } from './queue.ts'
import { resultsConformance } from './results.ts'
import { retentionConformance } from './retention.ts'
import type { Conformance } from './store-under-test.ts'
import { updateConformance } from './update.ts'

/** What a store promises, by topic. */
export const topics: Record<string, Conformance> = {
  find: findConformance,
  update: updateConformance,
  queue: queueConformance,
  claims: claimsConformance,
  attempts: attemptsConformance,
  callbacks: callbacksConformance,
  idempotency: idempotencyConformance,
  lists: listsConformance,
  results: resultsConformance,
  inputs: inputsConformance,
  retention: retentionConformance,
  changes: changesConformance,
  epoch: epochConformance,
  ownKeys: ownKeysConformance
}
