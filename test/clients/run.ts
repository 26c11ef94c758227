import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Service, root, startService } from './service.ts'

/*
 * Whether what others make of the OpenAPI document works: clients that are generated from it, linters, a validating
 * proxy, and a browser with the documentation page. It takes minutes and many packages, so CI does without.
 */

const home = import.meta.dirname
const generated = join(home, 'generated')
const bin = (name: string): string => join(home, 'node_modules', '.bin', name)

const openApiPath = join(generated, 'openapi.json')
const orvalConfig = join(generated, 'orval.config.json')
const heyConfig = join(generated, 'openapi-ts.config.json')

type Command = [command: string, ...args: string[]]
type Check = { name: string, commands: Command[] }

const node = (file: string): Command => [process.execPath, join(home, file)]

const checks: Check[] = [
  {
    name: 'Redocly',
    commands: [
      [join(root, 'node_modules', '.bin', 'redocly'), 'lint', openApiPath, '--config', join(root, 'redocly.yaml')]
    ]
  },
  {
    name: 'Spectral',
    commands: [
      [bin('spectral'), 'lint', openApiPath, '--ruleset', join(home, 'spectral.yaml'), '--fail-severity', 'hint']
    ]
  },
  {
    name: 'openapi-typescript generates',
    commands: [[bin('openapi-typescript'), openApiPath, '-o', join(generated, 'openapi-typescript.ts')]]
  },
  { name: '@hey-api/openapi-ts generates', commands: [[bin('openapi-ts'), '-f', heyConfig]] },
  { name: 'orval generates', commands: [[bin('orval'), '--config', orvalConfig]] },
  {
    name: 'all three compile, strict',
    commands: [[bin('tsc'), '-p', home], [bin('tsc'), '-p', join(generated, 'exact.tsconfig.json')]]
  },
  { name: 'openapi-fetch drives the service', commands: [node('adapters/openapi-fetch.ts')] },
  { name: '@hey-api/openapi-ts drives the service', commands: [node('adapters/hey-api.ts')] },
  { name: 'orval drives the service', commands: [node('adapters/orval.ts')] },
  { name: '@azure/core-lro follows both submissions', commands: [node('adapters/core-lro.ts')] },
  { name: 'The client of the package on Node 20, Node 22 and Deno', commands: [node('runtimes.ts')] },
  { name: 'Prism finds no violation in any route', commands: [node('proxy.ts')] },
  { name: '"Try it out" of every operation in Chromium', commands: [node('browser.ts')] },
  { name: 'Streams of events in Chromium', commands: [node('browser-streams.ts')] }
]

const install = (): void => {
  // npm writes this file last, so an interrupted install is repeated.
  if (existsSync(join(home, 'node_modules', '.package-lock.json'))) return
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--silent'], { cwd: home, stdio: 'inherit' })
  if (status !== 0) throw new Error(`npm ci failed in ${home}`)
}

const writeInputs = ({ baseUrl, document }: Service): void => {
  rmSync(generated, { recursive: true, force: true })
  mkdirSync(generated)
  const write = (path: string, value: unknown) => { writeFileSync(path, JSON.stringify(value, null, 2)) }
  write(openApiPath, document)
  const orval = { client: 'fetch', mode: 'single', target: join(generated, 'orval.ts'), baseUrl }
  write(orvalConfig, { jobs: { input: { target: openApiPath }, output: orval } })
  write(heyConfig, { input: openApiPath, output: { path: join(generated, 'hey-api'), module: { extension: '.ts' } } })
  // The runtime of @hey-api/openapi-ts itself does not compile with this option.
  write(join(generated, 'exact.tsconfig.json'), {
    extends: '../tsconfig.json',
    compilerOptions: { exactOptionalPropertyTypes: true },
    include: ['openapi-typescript.ts', 'orval.ts', '../adapters/openapi-fetch.ts', '../adapters/orval.ts']
  })
}

const env = ({ baseUrl, token, databasePath }: Service) => ({
  ...process.env,
  BASE_URL: baseUrl,
  TOKEN: token,
  DATABASE: databasePath,
  OPENAPI: openApiPath,
  REDOCLY_TELEMETRY: 'off',
  REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true',
  SCARF_ANALYTICS: 'false'
})

/** Runs the check; its output is printed where it fails. */
const passes = (service: Service, { name, commands }: Check): boolean => {
  for (const [command, ...args] of commands) {
    const { status, stdout, stderr, error } = spawnSync(command, args, {
      cwd: home, env: env(service), encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, timeout: 600_000
    })
    if (status === 0) continue
    console.log(`FAIL  ${name}\n${stdout}${stderr}${error?.message ?? ''}`)
    return false
  }
  console.log(`ok    ${name}`)
  return true
}

install()
const [wanted = ''] = process.argv.slice(2)
const service = await startService()
try {
  writeInputs(service)
  const chosen = checks.filter(({ name }) => /generates$/.test(name) || name.includes(wanted))
  const failed = chosen.filter(check => !passes(service, check))
  console.log(`${chosen.length - failed.length} passed, ${failed.length} failed`)
  if (failed.length > 0) process.exitCode = 1
} finally {
  await service.stop()
}
