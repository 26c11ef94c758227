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

/** Every metric of the service, in a registry of its own, so that tests can have several. */
export const createMetrics = () => {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    requestSeconds: new Histogram({
      name: 'http_request_duration_seconds',
      help: 'Response time in seconds, by route, method and status code.',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers
    }),
    requestsRefused: new Counter({
      name: 'http_requests_refused_total',
      help: 'Requests rejected because a queue was too long, by queue: requests or writes.',
      labelNames: ['queue'],
      registers
    }),
    ...createCacheMetrics(registers),
    ...createStoreMetrics(registers),
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
