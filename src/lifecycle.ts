import { setTimeout as delay } from 'node:timers/promises'
import { type App, type AppOptions, createApp } from './app.ts'
import { loadConfig } from './config/config.ts'
import { isUnavailable, OperatorError } from './errors.ts'
import { databaseNameOf } from './store/database-url.ts'
import { DatabaseUnusable } from './store/errors.ts'

/*
 * The life of a service process: configuration, app, listen, drain.
 */

// Far above Node's 511: a burst of connecting clients overflows that, and each of them retries after a second. The
// system may cap it.
const connectionsWaitingMax = 8192
// localhost may stand for several addresses, and the service listens on one: that of the commands in the README.
const loopback = '127.0.0.1'
const drainGraceMs = 5000
const drainMsMax = 30_000

/** How an app begins and ends. */
export type Lifecycle = {
  /** Listens, and only then begins to run jobs: a start that fails must not cost a job an attempt. Returns the URL. */
  listen: (host: string, port: number) => Promise<string>
  /**
   * Says so in its responses and goes on answering for `drainDelayMs`; then stops accepting, answers requests in
   * flight, gives unfinished jobs back to the queue, closes.
   */
  drain: () => Promise<void>
}

/** `pause` waits for some ms. */
export type LifecycleOptions = { drainDelayMs?: number, pause?: (ms: number) => Promise<unknown> }

export const createLifecycle = (
  { server, loops, worker, onDraining, onClosing, close }: App,
  { drainDelayMs = 0, pause = delay }: LifecycleOptions = {}
): Lifecycle => {
  let draining = false
  let listening: Promise<unknown> = Promise.resolve()
  return {
    listen: (host, port) => {
      const address = server.listen({
        host: host === 'localhost' ? loopback : host,
        port,
        backlog: connectionsWaitingMax,
        listenTextResolver: text => text
      }).then(url => {
        if (draining) return url
        for (const loop of loops) loop.start()
        worker.start()
        return url
      })
      listening = address.catch(() => {})
      return address
    },
    drain: async () => {
      draining = true
      onDraining()
      // It begins no run from now on, and those under way have the delay, too.
      const workerStopped = worker.stop(drainDelayMs + drainGraceMs)
      if (drainDelayMs > 0) await pause(drainDelayMs)
      onClosing()
      await listening
      // A client that stops reading its response would keep the process alive for ever.
      const patience = setTimeout(() => { server.server.closeAllConnections() }, drainGraceMs)
      await Promise.all([server.close(), workerStopped])
      clearTimeout(patience)
      await Promise.all(loops.map(loop => loop.stop()))
      await close()
    }
  }
}

const banner = (address: string, facts: App['facts']): string => `
  The job status service answers at ${address}

    store          ${facts.store}
    cache          ${facts.cache}
    workers        ${facts.workers}
    documentation  ${address}/docs
    a token        npm run --silent token -- --sub me --scope "jobs:read jobs:write"
`

const createDrainOnSignal = ({ server }: App, drain: Lifecycle['drain'], drainDelayMs: number) => {
  let draining = false
  return (signal: string): void => {
    // A signal to the whole process group arrives twice, the second time from npm.
    if (draining) return
    draining = true
    server.log.info({ signal }, 'draining')
    setTimeout(() => {
      server.log.error('draining took too long')
      process.exit(1)
    }, drainDelayMs + drainMsMax).unref()
    drain().then(
      () => {
        server.log.info('drained')
        process.exit(0)
      },
      (error: unknown) => {
        server.log.error({ err: error }, 'draining failed')
        process.exit(1)
      }
    )
  }
}

const start = async (options: AppOptions): Promise<void> => {
  // Until the app exists there is nothing to finish.
  let stop = (_signal: string): void => { process.exit(0) }
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { stop(signal) })
  const config = loadConfig()
  const app = await createApp(config, options).catch((error: unknown) => {
    if (!isUnavailable(error)) throw error
    const { message, cause } = error as Error
    throw new DatabaseUnusable(databaseNameOf(config.databaseUrl), cause instanceof Error ? cause.message : message, {
      cause: error
    })
  })
  const { drainDelayMs } = config
  const { listen, drain } = createLifecycle(app, { drainDelayMs })
  stop = createDrainOnSignal(app, drain, drainDelayMs)
  const { server, facts } = app
  const address = await listen(config.host, config.port)
  if (config.production && config.publicUrl === null) {
    server.log.warn('PUBLIC_URL is not set: absolute URLs come from the Host header, which the client chooses')
  }
  server.log.info(facts, 'ready')
  if (!config.production) process.stdout.write(banner(address, facts))
}

const hostErrors = ['ENOTFOUND', 'EAI_AGAIN', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL']

const describeStartFailure = (error: unknown): string => {
  const { code, message, stack } = error as NodeJS.ErrnoException
  if (error instanceof OperatorError) return message
  if (code === 'EADDRINUSE' || code === 'EACCES') return `PORT: cannot listen: ${message}`
  if (hostErrors.includes(code ?? '')) return `HOST: cannot listen: ${message}`
  return `the service could not start: ${stack ?? String(error)}`
}

/**
 * Runs the service of this process with the configuration in its environment until SIGTERM or SIGINT ends it. A start
 * that fails ends the process with code 1, with one line on standard error where the operator can correct the cause.
 */
export const runService = async (options: AppOptions = {}): Promise<void> => {
  try {
    await start(options)
  } catch (error) {
    process.stderr.write(`${describeStartFailure(error)}\n`)
    process.exit(1)
  }
}
