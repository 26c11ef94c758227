import { replaceModule } from './replace.ts'

/*
 * A service that brings to the cache nothing of what others changed.
 */

replaceModule('background/relay.ts', 'data:text/javascript,' + encodeURIComponent(
  'export const relayIntervalMs = 50; export const createRelay = () => () => Promise.resolve(0)'))
