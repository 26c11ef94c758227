import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client'

const createCacheMetrics = (registers: Registry[]) => ({
  statusReads: new Counter({
    name: 'job_status_reads_total',
    help: 'Status reads, by source: cache or store.',
    labelNames: ['source'],
    registers
  }),
  cacheOn: new Gauge({
    name: 'job_status_cache_on',
    help: '1 while the cache is in use, 0 while every read goes to the store.',
    registers
  }),
  cacheKind: new Gauge({
    name: 'job_status_cache_kind',
    help: '1 for what the cache is: memory, redis, redis-sentinel or redis-cluster.',
    labelNames: ['kind'],
    registers
  }),
  cacheMode: new Gauge({
    name: 'job_status_cache_mode',
    help: '1 for the current mode of the cache: on, warm (written, not yet read) or off.',
    labelNames: ['mode'],
    registers
  }),
  cacheTrips: new Counter({
    name: 'job_status_cache_trips_total',
    help: 'How often the cache was disabled because a command failed or the server changed.',
    registers
  }),
  changesRelayed: new Counter({
    name: 'job_changes_relayed_total',
    help: 'Changes that were relayed from the change log to the cache.',
    registers
  })
})

const createStoreMetrics = (registers: Registry[]) => {
  const storeUp = new Gauge({
    name: 'job_status_store_up',
    help: '1 while the store can be read, 0 while it cannot.',
    registers
  })
  // Opening it has read it.
  storeUp.set(1)
  return { storeUp }
}

// From one poll of a worker to a day.
const jobBuckets = [0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400]

const createJobMetrics = (registers: Registry[]) => ({
  jobsSubmitted: new Counter({
    name: 'jobs_submitted_total',
    help: 'Jobs accepted; repeated submissions are not counted.',
    registers
  }),
  jobTransitions: new Counter({
    name: 'job_transitions_total',
    help: 'Transitions of jobs, by event and by the state after it; progress is not counted.',
    labelNames: ['event', 'state'],
    registers
  }),
  jobsFinished: new Counter({
    name: 'jobs_finished_total',
    help: 'Jobs that this process saw end, by type and by final state.',
    labelNames: ['type', 'state'],
    registers
  }),
  jobWaitSeconds: new Histogram({
    name: 'job_wait_seconds',
    help: 'Seconds from the submission of a job to its first claim, by type.',
    labelNames: ['type'],
    buckets: jobBuckets,
    registers
  }),
  jobRunSeconds: new Histogram({
    name: 'job_run_seconds',
    help: 'Seconds from a claim to the end of that run, whatever it ended with, by type.',
    labelNames: ['type'],
    buckets: jobBuckets,
    registers
  }),
  jobNoticeSeconds: new Histogram({
    name: 'job_notice_seconds',
    help: 'Seconds from the end of a job to the first response of this process that showed it.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300],
    registers
  }),
  queueJobs: new Gauge({
    name: 'job_queue_jobs',
    help: 'Unfinished jobs in the database, by type and state; every process reports the same.',
    labelNames: ['type', 'state'],
    registers
  }),
  queueOldestSeconds: new Gauge({
    name: 'job_queue_oldest_age_seconds',
    help: 'For how long the queued job that has waited longest could have been claimed, by type; 0 without one.',
    labelNames: ['type'],
    registers
  })
})

const createCallbackMetrics = (registers: Registry[]) => ({
  callbackTries: new Counter({
    name: 'job_callback_tries_total',
    help: 'Tries to deliver a callback, by outcome: delivered, retried (there will be another) or failed (there will not).',
    labelNames: ['outcome'],
    registers
  }),
  callbackSeconds: new Histogram({
    name: 'job_callback_delay_seconds',
    help: 'Seconds from the time at which a try of a callback was due to its end.',
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60],
    registers
  }),
  callbacksPending: new Gauge({
    name: 'job_callbacks_pending',
    help: 'Callbacks that are not delivered yet although their job has ended, counted up to 100,000.',
    registers
  })
})

/** Every metric of the service, in a registry of its own, so that tests can have several. */
export const createMetrics = () => {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    requestSeconds: new Histogram({
      name: 'http_request_duration_seconds',
      help: 'Seconds until the response began, by route, method, status code and kind of request.',
      labelNames: ['method', 'route', 'status', 'kind'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers
    }),
    requestsRefused: new Counter({
      name: 'http_requests_refused_total',
      help: 'Requests rejected because a queue was too long, by queue: requests or writes.',
      labelNames: ['queue'],
      registers
    }),
    waitingClients: new Gauge({
      name: 'job_status_waiting_clients',
      help: 'Clients that wait, by kind: long-poll, stream of events, or feed of changes.',
      labelNames: ['kind'],
      registers
    }),
    ...createCacheMetrics(registers),
    ...createStoreMetrics(registers),
    ...createJobMetrics(registers),
    ...createCallbackMetrics(registers),
    pruned: new Counter({
      name: 'job_pruned_total',
      help: 'What the pruner removed, by kind; result bytes are counted in chunks.',
      labelNames: ['kind'],
      registers
    }),
    recordsInvalid: new Counter({
      name: 'job_records_invalid_total',
      help: 'Reads of records that break BR-001; each is also logged as an error.',
      registers
    })
  }
}

export type Metrics = ReturnType<typeof createMetrics>
