// Makes `npm start` and `npm test` work straight after a clone: installs what the lock names and,
// where the running Node is older than package.json allows, brings one that is not.
// Plain JavaScript for any Node from 16 on, because it runs before either is there.
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
// npm prunes packages it did not put there itself, but leaves names with a dot alone.
const broughtDir = join(modules, `.node-${node.version}`)
const broughtBin = join(broughtDir, 'bin', 'node')
const nodeLink = join(modules, '.bin', 'node')
// npm must not run on the Node it is about to delete, so what we start does not see node_modules/.bin.
const env = {
  ...process.env,
  PATH: (process.env.PATH || '').split(delimiter).filter(dir => dir !== join(modules, '.bin')).join(delimiter)
}
const omitDev = process.argv.includes('--omit=dev')

function say (line) {
  process.stderr.write(`bootstrap: ${line}\n`)
}

function readJson (path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined
}

/**
 * What node_modules lacks: 'nothing', 'some' packages, or 'all' (absent, unfinished or of another lock).
 * npm itself keeps node_modules/.package-lock.json, written last, so a plain `npm install` counts too.
 */
function lacking () {
  const wanted = readJson(join(root, 'package-lock.json')).packages
  const present = (readJson(join(modules, '.package-lock.json')) || {}).packages
  if (!present) return 'all'
  let answer = 'nothing'
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || (omitDev && entry.dev)) continue
    const found = present[path]
    if (found && (found.version !== entry.version || found.integrity !== entry.integrity)) return 'all'
    if (!found && !entry.optional && !entry.devOptional) answer = 'some'
  }
  return answer
}

function older (version, minimum) {
  const [a, b] = [version, minimum].map(text => text.split('.').map(Number))
  const at = b.findIndex((part, i) => part !== a[i])
  return at !== -1 && a[at] < b[at]
}

/** Whether whoever runs npm here has no new enough Node, neither of their own nor brought before. */
function nodeIsLacking () {
  try {
    if (existsSync(broughtBin) && join(dirname(nodeLink), readlinkSync(nodeLink)) === broughtBin) return false
  } catch {} // no link yet
  const ownVersion = process.execPath.startsWith(modules + sep)
    ? execFileSync('node', ['-p', 'process.versions.node'], { env, encoding: 'utf8' }).trim()
    : process.versions.node
  const minimum = readJson(join(root, 'package.json')).engines.node.replace(/^>=/, '')
  if (!older(ownVersion, minimum)) return false
  if (node.integrity[platform]) return true
  throw new Error(`this is Node ${ownVersion}, Node ${minimum} or newer is needed: install Node 24 from https://nodejs.org`)
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
  const state = lacking()
  if (state === 'nothing') return
  const flags = [omitDev ? '--omit=dev' : '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']
  say(`installing ${omitDev ? 'what the service needs' : 'all packages'}`)
  // `npm ci` empties node_modules first. Where packages are only missing, a service may be running on the
  // others (`npm test` beside `npm start`), so those are added without touching what is there.
  const command = state === 'all' ? ['ci'] : ['install', '--no-save']
  await run('npm', [...command, ...flags], root)
}

async function bringNode () {
  if (!nodeIsLacking()) return
  const name = `node-${platform}`
  const dir = mkdtempSync(join(tmpdir(), 'bootstrap-node-'))
  try {
    say(`bringing Node ${node.version} into node_modules, since the one that runs this is too old`)
    await run('npm', ['pack', `${name}@${node.version}`, '--pack-destination', dir, '--loglevel=error'], dir)
    const archive = join(dir, readdirSync(dir).find(file => file.endsWith('.tgz')) || 'missing.tgz')
    const integrity = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`
    if (integrity !== node.integrity[platform]) {
      throw new Error(`${name}@${node.version} does not have the pinned integrity and is not used (it has ${integrity})`)
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
  if (version !== `v${node.version}`) throw new Error(`the Node that was brought says it is ${version}`)
  // Renames, so that another npm command sees all of it or nothing; the copy is there because /tmp may be
  // another file system.
  const staged = `${broughtDir}.${process.pid}`
  mkdirSync(join(staged, 'bin'), { recursive: true })
  writeFileSync(join(staged, 'bin', 'node'), readFileSync(bin), { mode: 0o755 })
  writeFileSync(join(staged, 'LICENSE'), readFileSync(join(unpacked, 'LICENSE')))
  rmSync(broughtDir, { recursive: true, force: true })
  renameSync(staged, broughtDir)
  mkdirSync(dirname(nodeLink), { recursive: true })
  symlinkSync(join('..', `.node-${node.version}`, 'bin', 'node'), `${nodeLink}.${process.pid}`)
  renameSync(`${nodeLink}.${process.pid}`, nodeLink)
}

function holderIsGone (lock) {
  try {
    const pid = Number(readFileSync(lock, 'utf8'))
    const ageMs = Date.now() - statSync(lock).mtimeMs
    // The holder may not have written its number yet; and numbers come again, our own too, where /tmp outlives them.
    if (!pid) return ageMs > 5000
    if (pid === process.pid || ageMs > 15 * 60_000) return true
    process.kill(pid, 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH' || error.code === 'ENOENT'
  }
}

/** Runs `work` while no other bootstrap of this folder does; the lock cannot lie in node_modules, which npm empties. */
async function alone (work) {
  const id = createHash('sha256').update(root).digest('hex').slice(0, 16)
  const lock = join(tmpdir(), `bootstrap-${process.getuid ? process.getuid() : 0}-${id}.lock`)
  for (let waited = false; ;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (holderIsGone(lock)) {
      rmSync(lock, { force: true })
    } else {
      if (!waited) say('waiting for another npm command that installs here')
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
  if (nodeIsLacking() || lacking() !== 'nothing') {
    await alone(async () => {
      await installPackages()
      await bringNode()
    })
  }
} catch (error) {
  say(error.message)
  process.exitCode = error.exitCode || 1
}
