import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { type App, createApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config/config.ts'
import { createLifecycle } from '../../src/serve/lifecycle.ts'
import { type Client, createClient, type Json } from './client.ts'
import { databases } from './databases.ts'
import { secret, webhookSecret } from './tokens.ts'
import { until } from './until.ts'

export type Environment = Record<string, string>

const environment = async (databasePath: string, env: Environment): Promise<Environment> =>
  ({
    DATABASE_URL: await databases().urlOf(databasePath),
    JWT_SECRET: secret,
    WEBHOOK_SECRET: webhookSecret,
    PORT: '0',
    LOG_LEVEL: 'debug',
    ...env
  })

export type Service = Client & {
  app: App
  databasePath: string
  logs: Array<Record<string, Json>>
  /** Drains it before the test ends. */
  stop: () => Promise<void>
  /** Runs SQL on its database as another program does. */
  sql: (sql: string) => Promise<string>
  /** The same, past the CHECKs of the record. */
  sqlUnchecked: (sql: string) => Promise<string>
  /** Removes all changes from its log but the last one, as the pruner does. */
  pruneToLastChange: () => Promise<string>
}

/** A service in this process, on real parts, listening on a free port; its log lines are kept. */
export const startService = async (
  t: Test, env: Environment = {}, databasePath = join(t.testdir(), 'jobs.db')
): Promise<Service> => {
  const logs: Array<Record<string, Json>> = []
  const app = await createApp(loadConfig(await environment(databasePath, env)), {
    logStream: { write: line => { logs.push(JSON.parse(line)) } }
  })
  const { listen, drain } = createLifecycle(app)
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= drain()
    return stopped
  }
  t.teardown(stop)
  const url = await listen('127.0.0.1', 0)
  const { sql, sqlUnchecked, pruneToLastChange } = databases()
  return {
    ...createClient(url),
    app,
    databasePath,
    logs,
    stop,
    sql: statements => sql(databasePath, statements),
    sqlUnchecked: statements => sqlUnchecked(databasePath, statements),
    pruneToLastChange: () => pruneToLastChange(databasePath)
  }
}

export type SpawnedService = Client & {
  process: ChildProcess
  databasePath: string
  lines: string[]
  /** Of standard error. */
  errors: string[]
  kill: (signal: NodeJS.Signals) => Promise<{ code: number | null, signal: NodeJS.Signals | null }>
  sql: (sql: string) => Promise<string>
}

/**
 * The arguments of `setpriv` that start a service: Node, which ends with the test, and without the options of the test
 * runner, which bring listeners for signals that a service ignores. (A runner puts them into any environment it is given.)
 */
export const asService: readonly string[] = ['--pdeathsig', 'KILL', 'env', '--unset=NODE_OPTIONS', process.execPath]

/** A service process of its own, which the test may kill. */
export const spawnService = async (
  t: Test, env: Environment = {}, databasePath = join(t.testdir(), 'jobs.db'), main = 'src/main.ts'
): Promise<SpawnedService> => {
  const child = spawn('setpriv', [...asService, main], {
    env: { ...process.env, ...await environment(databasePath, env) }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const lines: string[] = []
  const input = createInterface({ input: child.stdout })
  input.on('line', line => { lines.push(line) })
  const errors: string[] = []
  createInterface({ input: child.stderr }).on('line', line => {
    errors.push(line)
    process.stderr.write(`${line}\n`)
  })
  const exit = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  const url = await until(() => {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}: ${lines.join('\n')}`)
    return lines.map(line => /"msg":"(http:\/\/[^"]+)"/.exec(line)?.[1]).find(Boolean)
  }, 'the address of the service', 60_000)
  return {
    ...createClient(url),
    process: child,
    databasePath,
    lines,
    errors,
    sql: statements => databases().sql(databasePath, statements),
    kill: async signal => {
      child.kill(signal)
      const [code, exitSignal] = await exit as [number | null, NodeJS.Signals | null]
      return { code, signal: exitSignal }
    }
  }
}
