import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createApp } from '../src/app.ts'
import { loadConfig } from '../src/config/config.ts'
import { createLifecycle } from '../src/serve/lifecycle.ts'

/*
 * Prints the OpenAPI document. It comes from the service itself, started on a temporary database.
 */

const directory = mkdtempSync(join(tmpdir(), 'openapi-'))
try {
  const config = loadConfig({
    DATABASE_URL: `sqlite:${join(directory, 'jobs.db')}`, JWT_SECRET: 'x'.repeat(32), WORKERS: '0', LOG_LEVEL: 'silent'
  })
  const app = await createApp(config)
  const document: unknown = (await app.server.inject('/openapi.json')).json()
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`)
  await createLifecycle(app).drain()
} finally {
  rmSync(directory, { recursive: true })
}
