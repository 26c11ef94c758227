// Makes `npm start` and `npm test` work right after a clone: it installs the packages of the lock file and, if the
// running Node is older than package.json allows, a newer Node.
// It is plain JavaScript for Node 16 and later, because it runs before either is installed.
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync, statSync,
  symlinkSync, writeFileSync
} from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { delimiter, dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const platform = `${process.platform}-${process.arch}`
const node = {
  version: '24.21.0',
  integrity: {
    'linux-x64': 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    'linux-arm64': 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g=='
  }
}
// npm removes packages that it did not install itself, except those whose name starts with a dot.
const ownNodeDir = join(modules, `.node-${node.version}`)
const ownNodeBin = join(ownNodeDir, 'bin', 'node')
const nodeLink = join(modules, '.bin', 'node')
// npm must not run on the Node that it is about to delete, so child processes do not search node_modules/.bin.
const env = {
  ...process.env,
  PATH: (process.env.PATH || '').split(delimiter).filter(dir => dir !== join(modules, '.bin')).join(delimiter)
}
const omitDev = process.argv.includes('--omit=dev')

function print (line) {
  process.stderr.write(`bootstrap: ${line}\n`)
}

function readJson (path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined
}

/**
 * What is missing in node_modules: 'nothing', 'some' packages, or 'all' (no install, an unfinished one or another lock
 * file). It is read from node_modules/.package-lock.json, which npm writes last, also in a plain `npm install`.
 */
function missing () {
  const wanted = readJson(join(root, 'package-lock.json')).packages
  const present = (readJson(join(modules, '.package-lock.json')) || {}).packages
  if (!present) return 'all'
  let state = 'nothing'
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || (omitDev && entry.dev)) continue
    const found = present[path]
    if (found && (found.version !== entry.version || found.integrity !== entry.integrity)) return 'all'
    if (!found && !entry.optional && !entry.devOptional) state = 'some'
  }
  return state
}

/** Whether this is a developer's checkout. npm removes the development packages of a folder where it omits them. */
function hasDevelopmentPackages () {
  const { packages = {} } = readJson(join(modules, '.package-lock.json')) || {}
  return Object.values(packages).some(({ dev }) => dev)
}

function isOlder (version, minimum) {
  const [a, b] = [version, minimum].map(text => text.split('.').map(Number))
  const at = b.findIndex((part, i) => part !== a[i])
  return at !== -1 && a[at] < b[at]
}

/** Whether a newer Node is needed: neither the running one is new enough nor was one installed here before. */
function needsNode () {
  try {
    if (existsSync(ownNodeBin) && join(dirname(nodeLink), readlinkSync(nodeLink)) === ownNodeBin) return false
  } catch {} // no link yet
  const version = process.execPath.startsWith(modules + sep)
    ? execFileSync('node', ['-p', 'process.versions.node'], { env, encoding: 'utf8' }).trim()
    : process.versions.node
  const minimum = readJson(join(root, 'package.json')).engines.node.replace(/^>=/, '')
  if (!isOlder(version, minimum)) return false
  if (node.integrity[platform]) return true
  const problem = `this is Node ${version}, Node ${minimum} or newer is needed`
  throw new Error(`${problem}: install Node 24 from https://nodejs.org`)
}

function run (command, args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'ignore', 'inherit'] })
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    const forward = signal => child.kill(signal)
    signals.forEach(signal => process.on(signal, forward))
    const done = (error, exitCode) => {
      signals.forEach(signal => process.off(signal, forward))
      if (error) reject(Object.assign(error, { exitCode }))
      else resolve()
    }
    child.on('error', error => done(new Error(`${command} could not be run: ${error.message}`), 1))
    child.on('exit', (code, signal) => {
      const exitCode = signal ? 128 + constants.signals[signal] : code
      done(exitCode === 0 ? undefined : new Error(`${command} ${args[0]} failed (${signal || code})`), exitCode)
    })
  })
}

async function installPackages () {
  const state = missing()
  if (state === 'nothing') return
  const isForService = omitDev && !hasDevelopmentPackages()
  const flags = [isForService ? '--omit=dev' : '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']
  print(`installing ${isForService ? 'the packages of the service' : 'all packages'}`)
  // `npm ci` empties node_modules first. If packages are only missing, a service may be running on the installed ones
  // (`npm test` beside `npm start`), so the missing ones are added and the installed ones stay in place.
  const command = state === 'all' ? ['ci'] : ['install', '--no-save']
  await run('npm', [...command, ...flags], root)
}

async function installNode () {
  if (!needsNode()) return
  const name = `node-${platform}`
  const dir = mkdtempSync(join(tmpdir(), 'bootstrap-node-'))
  try {
    print(`installing Node ${node.version} into node_modules, because the running Node is too old`)
    await run('npm', ['pack', `${name}@${node.version}`, '--pack-destination', dir, '--loglevel=error'], dir)
    const archive = join(dir, readdirSync(dir).find(file => file.endsWith('.tgz')) || 'missing.tgz')
    const integrity = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`
    if (integrity !== node.integrity[platform]) {
      throw new Error(
        `${name}@${node.version} has the integrity ${integrity} instead of the pinned one and is not used`
      )
    }
    await run('tar', ['-xzf', archive, '-C', dir, 'package/bin/node', 'package/LICENSE'], dir)
    placeNode(join(dir, 'package'))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function placeNode (unpacked) {
  const bin = join(unpacked, 'bin', 'node')
  const version = execFileSync(bin, ['--version'], { encoding: 'utf8' }).trim()
  if (version !== `v${node.version}`) throw new Error(`the downloaded Node reports version ${version}`)
  // A rename lets another npm command see either the whole folder or none. The files are copied first, because /tmp may
  // be on another file system.
  const staged = `${ownNodeDir}.${process.pid}`
  mkdirSync(join(staged, 'bin'), { recursive: true })
  writeFileSync(join(staged, 'bin', 'node'), readFileSync(bin), { mode: 0o755 })
  writeFileSync(join(staged, 'LICENSE'), readFileSync(join(unpacked, 'LICENSE')))
  rmSync(ownNodeDir, { recursive: true, force: true })
  renameSync(staged, ownNodeDir)
  mkdirSync(dirname(nodeLink), { recursive: true })
  symlinkSync(join('..', `.node-${node.version}`, 'bin', 'node'), `${nodeLink}.${process.pid}`)
  renameSync(`${nodeLink}.${process.pid}`, nodeLink)
}

function isAbandoned (lock) {
  try {
    const pid = Number(readFileSync(lock, 'utf8'))
    const ageMs = Date.now() - statSync(lock).mtimeMs
    // The holder may not have written its process id yet. Ids are reused, even our own, if /tmp survives a restart.
    if (!pid) return ageMs > 5000
    if (pid === process.pid || ageMs > 15 * 60_000) return true
    process.kill(pid, 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH' || error.code === 'ENOENT'
  }
}

/** Runs `work` while no other bootstrap of this folder does. The lock is outside node_modules, which npm empties. */
async function withLock (work) {
  const id = createHash('sha256').update(root).digest('hex').slice(0, 16)
  const lock = join(tmpdir(), `bootstrap-${process.getuid ? process.getuid() : 0}-${id}.lock`)
  for (let waited = false; ;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (isAbandoned(lock)) {
      rmSync(lock, { force: true })
    } else {
      if (!waited) print('waiting for another npm command that is installing packages here')
      waited = true
      await new Promise(resolve => setTimeout(resolve, 200))
    }
  }
  try {
    await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

try {
  if (needsNode() || missing() !== 'nothing') {
    await withLock(async () => {
      await installPackages()
      await installNode()
    })
  }
} catch (error) {
  print(error.message)
  process.exitCode = error.exitCode || 1
}
