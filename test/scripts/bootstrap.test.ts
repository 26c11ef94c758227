import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'

// Replaces npm: records its arguments and leaves the files that the real npm would.
const fakeNpm = `#!${process.execPath}
const { appendFileSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs')
const args = process.argv.slice(2)
appendFileSync(process.env.NPM_CALLS, args.join(' ') + '\\n')
if (process.env.NPM_FAILS) { console.error('npm error: the registry is unreachable'); process.exit(7) }
if (args[0] === 'pack') {
  writeFileSync(args[args.indexOf('--pack-destination') + 1] + '/node.tgz', 'not what was pinned')
} else {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  const omitted = args.includes('--omit=dev')
  const present = Object.entries(packages).filter(([path, { dev, optional }]) => path && !optional && !(dev && omitted))
  mkdirSync('node_modules', { recursive: true })
  writeFileSync('node_modules/.package-lock.json', JSON.stringify({ packages: Object.fromEntries(present) }))
}
`

const baseLock = {
  packages: {
    '': { name: 'sample' },
    'node_modules/needed': { version: '1.0.0', integrity: 'sha512-a' },
    'node_modules/tool': { version: '1.0.0', integrity: 'sha512-b', dev: true },
    'node_modules/other-platform': { version: '1.0.0', integrity: 'sha512-c', optional: true }
  }
}

function setUp (t: Test, node = '>=18'): ReturnType<typeof makeSample> {
  return makeSample(t.testdir(), node)
}

function makeSample (dir: string, node: string) {
  const calls = join(dir, 'calls')
  mkdirSync(join(dir, 'scripts'))
  mkdirSync(join(dir, 'bin'))
  copyFileSync('scripts/bootstrap.mjs', join(dir, 'scripts/bootstrap.mjs'))
  writeFileSync(join(dir, 'bin/npm'), fakeNpm)
  chmodSync(join(dir, 'bin/npm'), 0o755)
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ engines: { node } }))
  const writeLock = (lock: object): void => { writeFileSync(join(dir, 'package-lock.json'), JSON.stringify(lock)) }
  writeLock(baseLock)
  return {
    dir,
    writeLock,
    run (args: string[] = [], env: NodeJS.ProcessEnv = {}) {
      writeFileSync(calls, '')
      const { status, stderr, stdout } = spawnSync(process.execPath, [join(dir, 'scripts/bootstrap.mjs'), ...args], {
        encoding: 'utf8',
        cwd: '/',
        env: {
          ...process.env,
          PATH: `${join(dir, 'bin')}:${dirname(process.execPath)}:${process.env.PATH}`,
          NPM_CALLS: calls,
          ...env
        }
      })
      return { status, stderr, stdout, npm: readFileSync(calls, 'utf8').split('\n').filter(line => line !== '') }
    }
  }
}

t.test('installs all packages into an empty clone, reports it, and does nothing the second time', async t => {
  const { run } = setUp(t)
  const first = run([], { NODE_ENV: 'production' })
  t.match(first, { status: 0, stdout: '', stderr: /^bootstrap: installing all packages\n$/ })
  t.equal(first.npm.length, 1)
  t.match(first.npm[0], /^ci --include=dev /)
  t.strictSame(run(), { status: 0, stdout: '', stderr: '', npm: [] })
})

t.test('installs again after the lock file changed', async t => {
  const { run, writeLock } = setUp(t)
  run()
  writeLock({ packages: { ...baseLock.packages, 'node_modules/needed': { version: '1.0.1', integrity: 'sha512-d' } } })
  const { status, npm } = run()
  t.equal(status, 0)
  t.match(npm, [/^ci /])
  t.strictSame(run().npm, [])
})

t.test('installs no development packages for the service; tests add them and keep the others in place', async t => {
  const { run } = setUp(t)
  t.match(run(['--omit=dev']).npm, [/^ci --omit=dev /])
  t.strictSame(run(['--omit=dev']).npm, [])
  t.match(run().npm, [/^install --no-save --include=dev /])
  t.strictSame(run(['--omit=dev']).npm, [])
  t.strictSame(run().npm, [])
})

for (const [change, packages, command] of [
  ['is missing', { 'node_modules/added': { version: '1.0.0', integrity: 'sha512-e' } }, 'install --no-save'],
  ['has another version', { 'node_modules/needed': { version: '1.0.1', integrity: 'sha512-d' } }, 'ci']
] as const) {
  t.test(`a package of the service that ${change} costs a developer none of the development packages`, async t => {
    const { run, writeLock } = setUp(t)
    run()
    writeLock({ packages: { ...baseLock.packages, ...packages } })
    const { npm, stderr } = run(['--omit=dev'])
    t.match(npm, [new RegExp(`^${command} --include=dev `)])
    t.equal(stderr, 'bootstrap: installing all packages\n')
    t.strictSame(run().npm, [], 'the tests find everything installed')
  })
}

t.test('a development package that is missing is no reason for the service to install', async t => {
  const { run, writeLock } = setUp(t)
  run()
  const other = { version: '1.0.0', integrity: 'sha512-e', dev: true }
  writeLock({ packages: { ...baseLock.packages, 'node_modules/other-tool': other } })
  t.strictSame(run(['--omit=dev']).npm, [])
  t.match(run().npm, [/^install --no-save --include=dev /])
})

t.test('a package of the service that is missing where there are no development packages brings none', async t => {
  const { run, writeLock } = setUp(t)
  run(['--omit=dev'])
  const added = { version: '1.0.0', integrity: 'sha512-e' }
  writeLock({ packages: { ...baseLock.packages, 'node_modules/added': added } })
  t.match(run(['--omit=dev']).npm, [/^install --no-save --omit=dev /])
  t.strictSame(run(['--omit=dev']).npm, [])
})

t.test('repeats an install that was interrupted', async t => {
  const { dir, run } = setUp(t)
  run()
  rmSync(join(dir, 'node_modules/.package-lock.json'))
  t.match(run().npm, [/^ci /])
})

t.test("shows npm's own error if the install fails, and exits with its code", async t => {
  const { run } = setUp(t)
  const { status, stderr } = run([], { NPM_FAILS: '1' })
  t.equal(status, 7)
  t.match(stderr, /npm error: the registry is unreachable\nbootstrap: npm ci failed \(7\)\n$/)
})

t.test('downloads the pinned Node if the running one is too old, and rejects a file of another integrity', async t => {
  const { dir, run } = setUp(t, '>=99.1')
  const { status, stderr, npm } = run()
  t.not(status, 0)
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    t.match(stderr, /Node 99\.1 or newer is needed: install Node 24/)
    return
  }
  t.match(npm, [/^ci /, new RegExp(`^pack node-linux-${process.arch}@24\\.21\\.0 `)])
  t.match(stderr, new RegExp('bootstrap: node-linux-\\w+@24\\.21\\.0 has the integrity sha512-\\S+ ' +
    'instead of the pinned one and is not used\\n$'))
  t.throws(() => readFileSync(join(dir, 'node_modules/.bin/node')), { code: 'ENOENT' })
})

t.test('keeps a Node that is new enough, compared to the minor version', async t => {
  const [major, minor] = process.versions.node.split('.').map(Number)
  const { npm } = setUp(t, `>=${major}.${minor}`).run()
  t.match(npm, [/^ci /])
  t.equal(npm.length, 1)
})

t.test('installs once if two npm commands run at the same time', async t => {
  const { dir, run } = setUp(t)
  const both = spawnSync('sh', ['-c', 'node scripts/bootstrap.mjs & node scripts/bootstrap.mjs & wait'], {
    cwd: dir,
    encoding: 'utf8',
    env: {
      ...process.env,
      PATH: `${join(dir, 'bin')}:${dirname(process.execPath)}:${process.env.PATH}`,
      NPM_CALLS: join(dir, 'calls')
    }
  })
  t.equal(both.status, 0)
  t.equal(readFileSync(join(dir, 'calls'), 'utf8').match(/^ci /gm)?.length, 1)
  t.strictSame(run().npm, [])
})
