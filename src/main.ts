import { type App, createApp } from './app.ts'
import { ConfigError, loadConfig } from './config.ts'
import { DatabaseUnusable, toSqliteError } from './store/database.ts'
import { DatabaseInUse } from './store/process-lock.ts'

const drainMsMax = 30_000

const banner = (address: string, facts: { store: string, cache: string, workers: number }): string => `
  The job status service answers at ${address}

    store          ${facts.store}
    cache          ${facts.cache}
    workers        ${facts.workers}
    documentation  ${address}/docs
    a token        npm run --silent token -- --sub me --scope "jobs:read jobs:write"
`

const createDrain = ({ server, drain }: App) => {
  let draining = false
  return (signal: string): void => {
    // A signal to the whole group arrives twice, once by way of npm.
    if (draining) return
    draining = true
    server.log.info({ signal }, 'draining')
    setTimeout(() => {
      server.log.error('draining took too long')
      process.exit(1)
    }, drainMsMax).unref()
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

const start = async (): Promise<void> => {
  // Before the service stands there is nothing to finish.
  let stop = (_signal: string): void => { process.exit(0) }
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { stop(signal) })
  const config = loadConfig()
  const app = await createApp(config).catch((error: unknown) => {
    const cause = toSqliteError(error)
    throw cause === undefined || error instanceof DatabaseUnusable ? error : new DatabaseUnusable(config.databasePath, cause)
  })
  stop = createDrain(app)
  const { server, facts } = app
  const address = await app.listen(config.host, config.port)
  server.log.info(facts, 'ready')
  if (!config.production) process.stdout.write(banner(address, facts))
}

try {
  await start()
} catch (error) {
  const code = (error as NodeJS.ErrnoException).code
  const isForTheOperator = [ConfigError, DatabaseInUse, DatabaseUnusable].some(kind => error instanceof kind)
  if (isForTheOperator) process.stderr.write(`${(error as Error).message}\n`)
  else if (code === 'EADDRINUSE' || code === 'EACCES') process.stderr.write(`PORT: cannot listen: ${(error as Error).message}\n`)
  else if (code === 'ENOTFOUND' || code === 'EADDRNOTAVAIL') process.stderr.write(`HOST: cannot listen: ${(error as Error).message}\n`)
  else process.stderr.write(`the service could not start: ${(error as Error).stack ?? String(error)}\n`)
  process.exit(1)
}
