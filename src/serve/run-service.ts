import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { type App, type AppOptions, createApp, type Predecessor } from '../app.ts'
import { type Config, loadConfig } from '../config/config.ts'
import { isUnavailable, OperatorError } from '../errors.ts'
import { databaseNameOf } from '../store/open/database-url.ts'
import { DatabaseUnusable } from '../store/errors.ts'
import { createLifecycle, type Front, type Lifecycle } from './lifecycle.ts'
import { isMigrationOff, resetsWaiting } from './shared-port.ts'

/*
 * The life of a service process: configuration, start, another app where the database is replaced, signals, the end.
 */

const drainMsMax = 30_000
const lastLineMsMax = 1000
const idleMs = 1000
const idleUtilizationMax = 0.2

const banner = (address: string, { facts, tokenCommand }: App): string => `
  The job status service answers at ${address}

    store          ${facts.store}
    cache          ${facts.cache}
    workers        ${facts.workers}
    page           ${address}/ui
    documentation  ${address}/docs
${tokenCommand === null ? '' : `    a token        ${tokenCommand}\n`}`

type DrainNeeds = { drain: Lifecycle['drain'], drainDelayMs: number, logStream: LogStream }
type LogStream = ReturnType<typeof pino.destination>

// At exit pino writes the rest of the log. Until it has met an error once, it repeats a write that fails without end.
const exitAfterLastLine = (logStream: LogStream, code: number): void => {
  const exit = () => process.exit(code)
  logStream.once('drain', exit).once('error', exit)
  // Each write is followed by one of the two events; the log level may have left out the last line.
  logStream.write('')
  setTimeout(exit, lastLineMsMax)
}

const createDrainOnSignal = ({ server }: App, { drain, drainDelayMs, logStream }: DrainNeeds) => {
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
        exitAfterLastLine(logStream, 0)
      },
      (error: unknown) => {
        server.log.error({ err: error }, 'draining failed')
        exitAfterLastLine(logStream, 1)
      }
    )
  }
}

const openApp = async (config: Config, options: AppOptions): Promise<App> =>
  await createApp(config, options).catch((error: unknown) => {
    if (!isUnavailable(error)) throw error
    const { message, cause } = error as Error
    throw new DatabaseUnusable(databaseNameOf(config.databaseUrl), cause instanceof Error ? cause.message : message, {
      cause: error, mayPass: true
    })
  })

const announce = ({ production, publicUrl, reusePort }: Config, app: App, address: string): void => {
  const { server: { log }, facts } = app
  if (production && publicUrl === null) {
    log.warn('PUBLIC_URL is not set: absolute URLs come from the Host header, which the client chooses')
  }
  if (reusePort && isMigrationOff()) log.warn(resetsWaiting)
  log.info(facts, 'ready')
  if (!production) process.stdout.write(banner(address, app))
}

type Opened = { app: App, replaced: Promise<void> }

const reopenPauseMs = 200

/** Opens an app on the database that has taken the place of another. null: the process is to end instead. */
const openAgain = async (open: () => Promise<Opened>, isStopping: () => boolean): Promise<Opened | null> => {
  while (!isStopping()) {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof DatabaseUnusable && error.mayPass)) throw error
    }
    await delay(reopenPauseMs)
  }
  return null
}

/**
 * Half of the heap is what only the start has needed, and an idle process would keep it. A major collection alone leaves
 * most of that: V8 frees pages, and code that is not in use, as its last resort only. It takes some 40 ms, so it waits for
 * a second in which the process has little to do. Without Node's --expose-gc nothing is collected.
 */
const collectWhenIdle = (): void => {
  const { gc } = globalThis
  if (gc === undefined) return
  const before = performance.eventLoopUtilization()
  setTimeout(() => {
    if (performance.eventLoopUtilization(before).utilization < idleUtilizationMax) {
      void gc({ execution: 'async', flavor: 'last-resort' })
    } else {
      collectWhenIdle()
    }
  }, idleMs).unref()
}

const start = async (options: AppOptions): Promise<void> => {
  // Until the app exists there is nothing to finish.
  let stop = (_signal: string): void => { process.exit(0) }
  let isStopping = false
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      isStopping = true
      stop(signal)
    })
  }
  const config = loadConfig()
  const { host, drainDelayMs, reusePort } = config
  const logStream = pino.destination(1)

  let current: Server | null = null
  const passTo = (server: Server) => { current = server }

  const open = async (predecessor: Predecessor | null): Promise<Opened> => {
    const { promise: replaced, resolve: onReplaced } = Promise.withResolvers<void>()
    const successor = () => current
    return { app: await openApp(config, { logStream, ...options, onReplaced, predecessor, successor }), replaced }
  }

  const serve = async ({ app, replaced }: Opened, front: Front | null): Promise<void> => {
    const { listen, drain, close } = createLifecycle(app, { drainDelayMs, front, reusePort })
    stop = createDrainOnSignal(app, { drain, drainDelayMs, logStream })
    const url = await listen(host, config.port)
    announce(config, app, url)
    replaced.then(() => renew(app, close, front ?? { server: app.server, url, passTo })).catch(exitWith)
  }

  /*
   * What this process knows of the database means nothing in the one that has taken its place: an app of its own begins
   * there. Until then the app before answers, with 503, since its store accepts no other database. The first one goes on
   * listening, so that no connection is refused or reset.
   */
  const renew = async (app: App, close: () => Promise<void>, front: Front): Promise<void> => {
    const { log } = app.server
    if (isStopping) return
    log.warn('another database has taken the place of the one that was open: opening it')
    stop = () => {}
    const predecessor = app.retire()
    const next = await openAgain(() => open(predecessor), () => isStopping)
    if (next === null) process.exit(0)
    await serve(next, front)
    close().catch((error: unknown) => { log.warn({ err: error }, 'closing what was replaced failed') })
    if (isStopping) stop('SIGTERM')
  }
  await serve(await open(null), null)
  collectWhenIdle()
}

const hostErrors = ['ENOTFOUND', 'EAI_AGAIN', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL']

const describeStartFailure = (error: unknown): string => {
  const { code, message, stack } = error as NodeJS.ErrnoException
  if (error instanceof OperatorError) return message
  if (code === 'EADDRINUSE') return `PORT: cannot listen: ${message}; set PORT to one that is free, or 0 for any`
  if (code === 'EACCES') return `PORT: cannot listen: ${message}`
  if (hostErrors.includes(code ?? '')) return `HOST: cannot listen: ${message}`
  return `the service could not start: ${stack ?? String(error)}`
}

const exitWith = (error: unknown): void => {
  process.stderr.write(`${describeStartFailure(error)}\n`)
  process.exit(1)
}

/**
 * Runs the service of this process with the configuration in its environment until SIGTERM or SIGINT ends it. A start
 * that fails ends the process with code 1, with one line on standard error where the operator can correct the cause.
 */
export const runService = async (options: AppOptions = {}): Promise<void> => {
  await start(options).catch(exitWith)
}
