import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../helpers/redis.ts'

/** The folder of the project. */
export const root = join(import.meta.dirname, '..', '..')

/** Waits until something answers at the URL. */
export const answers = async (url: string, ended: () => boolean = () => false): Promise<void> => {
  while (!await fetch(url).then(answer => answer.status > 0, () => false)) {
    if (ended()) throw new Error(`nothing answers at ${url}`)
    await delay(50)
  }
}

export type Service = {
  baseUrl: string
  token: string
  databasePath: string
  document: OpenApiDocument
  stop: () => Promise<void>
}

export type Operation = {
  operationId: string
  parameters?: Array<{ in: string, name: string, required?: boolean, example?: unknown }>
  responses: Record<string, unknown>
}
export type OpenApiDocument = { paths: Record<string, Record<string, Operation>> }

/** What a check, which is a process of its own, gets in its environment. */
export const readSettings = () => {
  const { BASE_URL: baseUrl = '', TOKEN: token = '' } = process.env
  const { OPENAPI: openApiPath = '', DATABASE: databasePath = '' } = process.env
  const document = JSON.parse(readFileSync(openApiPath, 'utf8')) as OpenApiDocument
  return { baseUrl, token, openApiPath, document, databasePath }
}

/** A service process of its own, on a new database, with a token that opens everything. */
export const startService = async (settings: Record<string, string> = {}): Promise<Service> => {
  const directory = mkdtempSync(join(tmpdir(), 'clients-'))
  const databasePath = join(directory, 'jobs.db')
  const port = settings.PORT ?? String(await freePort())
  const env = {
    ...process.env,
    DATABASE_URL: `sqlite:${databasePath}`,
    JWT_SECRET: randomBytes(32).toString('hex'),
    PORT: port,
    LOG_LEVEL: 'warn',
    WORKERS: '1',
    ...settings
  }
  const child = spawn(process.execPath, ['src/main.ts'], { cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] })
  const baseUrl = `http://127.0.0.1:${port}`
  await answers(`${baseUrl}/livez`, () => child.exitCode !== null)
  const scope = 'jobs:read jobs:write jobs:work jobs:admin'
  const token = execFileSync(process.execPath, ['scripts/token.ts', '--sub', 'check', '--scope', scope], {
    cwd: root, env, encoding: 'utf8'
  }).trim()
  return {
    baseUrl,
    token,
    databasePath,
    document: await (await fetch(`${baseUrl}/openapi.json`)).json() as OpenApiDocument,
    stop: async () => {
      if (child.exitCode === null) {
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      rmSync(directory, { recursive: true })
    }
  }
}
