import type { components } from '../../../client/client.ts'

/** What the service says of itself. */
export type ServiceState = components['schemas']['ServiceState']

/** The gauges of a process at one time. */
export type Sample = components['schemas']['ServiceSample']
