import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { InputReader } from '../../job/input.ts'
import type { Schedule } from '../../schedule.ts'
import type { AwaitMany } from '../../status/await-many.ts'
import type { ChangeFeed } from '../../status/feed/change-feed.ts'
import type { ReadAttempts } from '../../status/details/read-attempts.ts'
import type { ReadInput } from '../../status/details/read-input.ts'
import type { ReadCallbacks } from '../../status/details/read-callbacks.ts'
import type { ReadResult } from '../../status/details/read-result.ts'
import type { ListStatuses, ReadMany } from '../../status/read-status.ts'
import type { CancelJob, EraseJob } from '../../write/cancel-and-erase.ts'
import type { RedeliverCallback } from '../../write/callbacks/redeliver-callback.ts'
import type { LongPollClaim } from '../../write/runs/long-poll-claim.ts'
import type { RunJob } from '../../write/runs/run-job.ts'
import type { StoreInput } from '../../write/store-input.ts'
import type { SubmitJob } from '../../write/submit-job.ts'
import type { Uploads } from '../../write/runs/uploads.ts'
import type { LogResponse } from '../access-log.ts'
import type { AddCorsFields } from '../headers/cors.ts'
import type { WaitingClients } from '../limits/waiting-clients.ts'
import { pageRoutes } from '../page/page-routes.ts'
import { createSchedulePings } from '../pings.ts'
import type { StatusAccess } from '../status-access.ts'
import type { FollowStatus } from '../status-events.ts'
import { attemptRoutes } from './attempt-routes.ts'
import { callbackRoutes } from './callback-routes.ts'
import { cancelRoutes } from './cancel-routes.ts'
import { eventRoutes } from './event-routes.ts'
import { feedRoutes } from './feed/feed-routes.ts'
import type { ByIdsNeeds } from './lists/list-by-ids.ts'
import { listRoutes } from './lists/list-routes.ts'
import { inputRoutes } from './input-routes.ts'
import { operationsRoutes, type OperationsNeeds } from './operations-routes.ts'
import { resultRoutes } from './results/result-routes.ts'
import { serviceRoutes, type ServiceRouteNeeds } from './service-routes.ts'
import { statusRoutes } from './status-routes.ts'
import { sanitizeAsyncRoutes } from './submissions/sanitize-async-routes.ts'
import { sanitizeRoutes, type SanitizeRouteNeeds } from './submissions/sanitize-routes.ts'
import { submitRoutes, type SubmitRouteNeeds } from './submissions/submit-routes.ts'
import { workerRoutes } from './workers/claim-routes.ts'

/** What routes read. */
type StatusNeeds = {
  /** Of the database; part of every event's id. */
  incarnation: string,
  statusAccess: StatusAccess,
  followStatus: FollowStatus,
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void,
  readMany: ReadMany,
  awaitMany: AwaitMany,
  listStatuses: ListStatuses,
  changesCursor: ByIdsNeeds['changesCursor'],
  tagPrefix: ByIdsNeeds['tagPrefix'],
  feed: ChangeFeed,
  readResult: ReadResult,
  readAttempts: ReadAttempts,
  readCallbacks: ReadCallbacks,
  readInput: ReadInput,
  inputs: InputReader
}

/** What routes change, and the work that they do for a client at once. */
type CommandNeeds = {
  submitJob: SubmitJob
  storeInput: StoreInput
  cancelJob: CancelJob
  eraseJob: EraseJob
  redeliverCallback: RedeliverCallback
  longPollClaim: LongPollClaim
  runJob: RunJob
  uploads: Uploads
  sanitizeNow: SanitizeRouteNeeds['sanitizeNow']
}

/** Which submissions the service accepts. */
type SubmissionRules = {
  /** The only types accepted; null: any. */
  jobTypes: readonly string[] | null
  knownTypes: SubmitRouteNeeds['knownTypes']
  /** The longest time that a submission may ask its result to be kept. */
  retentionSecondsMax: number
  callbacks: SubmitRouteNeeds['callbacks']
}

/** What routes need of the service. */
export type RouteNeeds = {
  status: StatusNeeds
  commands: CommandNeeds
  submissions: SubmissionRules
  operations: OperationsNeeds & ServiceRouteNeeds
  schedule: Schedule
  /** The origin that absolute links begin with; null: that of the request. */
  publicUrl: string | null
  /** How long the lease of a run lasts unless the worker asks for another time. */
  leaseMs: number
  /** What prints a token for a local service; null: the page does not name one. */
  tokenCommand: string | null
}

/** What routes need of the server. */
export type RouteParts = {
  waitingClients: WaitingClients
  logResponse: LogResponse
  addCorsFields: AddCorsFields | null
  /** ms since 1970. */
  now: () => number
}

/** Registers every route but those of the documentation. */
export const registerRoutes = async (app: FastifyInstance, needs: RouteNeeds, parts: RouteParts): Promise<void> => {
  const { status: { statusAccess, onShown, ...reads }, commands, submissions, operations, publicUrl, leaseMs } = needs
  const waits = { onShown, isDraining: operations.isDraining, ...parts }
  const { submitJob, storeInput, cancelJob, eraseJob, redeliverCallback } = commands
  const { longPollClaim, runJob, uploads, sanitizeNow } = commands
  const { jobTypes, callbacks } = submissions
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const schedulePings = createSchedulePings(needs.schedule)
  await typed.register(statusRoutes, { statusAccess, ...waits })
  const { followStatus, incarnation } = reads
  await typed.register(eventRoutes, { followStatus, incarnation, schedulePings, ...waits })
  await typed.register(resultRoutes, { statusAccess, readResult: reads.readResult, ...waits })
  await typed.register(submitRoutes, { statusAccess, submitJob, ...submissions, publicUrl, ...waits })
  await typed.register(cancelRoutes, { statusAccess, cancelJob, eraseJob, ...waits })
  await typed.register(attemptRoutes, { readAttempts: reads.readAttempts })
  await typed.register(inputRoutes, { readInput: reads.readInput })
  await typed.register(callbackRoutes, { readCallbacks: reads.readCallbacks, redeliverCallback })
  await typed.register(listRoutes, { ...reads, ...waits })
  await typed.register(feedRoutes, { feed: reads.feed, schedule: needs.schedule, schedulePings, ...waits })
  await typed.register(sanitizeRoutes, { sanitizeNow })
  await typed.register(sanitizeAsyncRoutes, {
    statusAccess, submitJob, storeInput, jobTypes, callbacks, publicUrl, ...waits
  })
  await typed.register(workerRoutes, {
    statusAccess, longPollClaim, runJob, uploads, inputs: reads.inputs, leaseMs, publicUrl
  })
  await typed.register(operationsRoutes, operations)
  await typed.register(serviceRoutes, operations)
  await app.register(pageRoutes, { tokenCommand: needs.tokenCommand })
}
