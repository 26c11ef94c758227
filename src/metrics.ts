import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client'

// How the cache fares, and what it spares the store.
const createCacheMetrics = (registers: Registry[]) => ({
  statusReads: new Counter({
    name: 'job_status_reads_total',
    help: 'Status reads by what answered them: cache or store.',
    labelNames: ['source'],
    registers
  }),
  cacheOn: new Gauge({
    name: 'job_status_cache_on',
    help: '1 while the cache is used, 0 while the store answers alone.',
    registers
  }),
  cacheMode: new Gauge({
    name: 'job_status_cache_mode',
    help: '1 for the mode that the cache is in: on, warm (told of changes, not yet read) or off.',
    labelNames: ['mode'],
    registers
  }),
  cacheTrips: new Counter({
    name: 'job_status_cache_trips_total',
    help: 'How often the cache was left because a command failed or the server changed.',
    registers
  }),
  changesRelayed: new Counter({
    name: 'job_changes_relayed_total',
    help: 'Changes brought from the change log to the cache.',
    registers
  })
})

const createStoreMetrics = (registers: Registry[]) => {
  const storeUp = new Gauge({
    name: 'job_status_store_up',
    help: '1 while the store can be read, 0 while it cannot.',
    registers
  })
  // It was read when it was opened.
  storeUp.set(1)
  return { storeUp }
}

/** Every number the service tells of itself. One table a process part, so that tests can have their own. */
export const createMetrics = () => {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    requestSeconds: new Histogram({
      name: 'http_request_duration_seconds',
      help: 'Time to answer, by route, method and status code.',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers
    }),
    requestsRefused: new Counter({
      name: 'http_requests_refused_total',
      help: 'Requests refused because there was too much to do, by the queue that was too long: requests or writes.',
      labelNames: ['queue'],
      registers
    }),
    ...createCacheMetrics(registers),
    ...createStoreMetrics(registers),
    jobsSubmitted: new Counter({
      name: 'jobs_submitted_total',
      help: 'Jobs accepted, replays not counted.',
      registers
    }),
    jobTransitions: new Counter({
      name: 'job_transitions_total',
      help: 'What happened to jobs, by event and by the state that came of it; progress not counted.',
      labelNames: ['event', 'state'],
      registers
    }),
    pruned: new Counter({
      name: 'job_pruned_total',
      help: 'What was removed because it was past its time, by kind; bytes in chunks.',
      labelNames: ['kind'],
      registers
    }),
    recordsInvalid: new Counter({
      name: 'job_records_invalid_total',
      help: 'Records met that break BR-001; every one is also logged as an error.',
      registers
    })
  }
}

export type Metrics = ReturnType<typeof createMetrics>
