// Lints the OpenAPI document of the service, and checks its examples and error codes. A warning fails too.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findOpenApiFaults, type OpenApiDocument } from './openapi-faults.ts'

interface Report {
  totals: { errors: number; warnings: number }
}

const maxBuffer = 64 * 1024 * 1024

function lint (path: string, format: 'json' | 'stylish'): { status: number | null; stdout: string } {
  return spawnSync('redocly', ['lint', path, '--config', 'redocly.yaml', '--format', format], {
    encoding: 'utf8',
    maxBuffer,
    stdio: ['ignore', 'pipe', format === 'stylish' ? 'inherit' : 'ignore'],
    env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }
  })
}

const document = spawnSync('npm', ['run', '--silent', 'openapi'], {
  encoding: 'utf8', maxBuffer, stdio: ['ignore', 'pipe', 'inherit']
})
if (document.status !== 0) {
  console.error('openapi: the document could not be printed')
  process.exit(1)
}
const dir = mkdtempSync(join(tmpdir(), 'openapi-'))
try {
  const path = join(dir, 'openapi.json')
  writeFileSync(path, document.stdout)
  const { status, stdout } = lint(path, 'json')
  const { errors, warnings } = (JSON.parse(stdout) as Report).totals
  const faults = findOpenApiFaults(JSON.parse(document.stdout) as OpenApiDocument)
  for (const fault of faults) console.error(`openapi: ${fault}`)
  if (status !== 0 || errors + warnings > 0) {
    console.error(lint(path, 'stylish').stdout)
    console.error(`openapi: ${errors} errors, ${warnings} warnings`)
    process.exitCode = 1
  } else if (faults.length > 0) {
    process.exitCode = 1
  } else {
    console.log('openapi: the document is valid')
  }
} finally {
  rmSync(dir, { recursive: true })
}
