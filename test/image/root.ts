import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  cpSync, existsSync, globSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

/*
 * Roots of a file system, made by debootstrap and npm, in which commands run as in a container: with a /proc of their
 * own, in a process namespace of their own, as a user of theirs, with nothing of the environment of the check.
 */

export const projectRoot = join(import.meta.dirname, '..', '..')

/** How a command runs in a root. */
export type Setting = { root: string, cwd: string, user: string, env: Record<string, string> }

const run = (command: string, args: readonly string[], cwd = projectRoot): string => {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? ''}${stderr}${stdout}`)
  return stdout
}

// /proc/self is needed by npm and node; /dev has what a container has.
const enter = `mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
  exec chroot --userspec="$1" "$0" /usr/bin/env -i -C "$2" "\${@:3}"`

const toArgs = ({ root, cwd, user, env }: Setting, command: readonly string[]): string[] => {
  const id = run('chroot', [root, 'sh', '-c', `echo $(id -u ${user}):$(id -g ${user})`]).trim()
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  return ['--mount', '--pid', '--fork', '--kill-child', 'bash', '-c', enter, root, id, cwd, ...variables, ...command]
}

/** Runs a command to its end. */
export const runIn = (setting: Setting, command: readonly string[]): { status: number | null, output: string } => {
  const options = { encoding: 'utf8', maxBuffer: 1 << 28 } as const
  const { status, stdout, stderr } = spawnSync('unshare', toArgs(setting, command), options)
  return { status, output: stdout + stderr }
}

/** Starts a command, which ends with the check. `pid`: of the process that is the first one inside. */
export const startIn = async (
  setting: Setting, command: readonly string[]
): Promise<{ child: ChildProcess, pid: number }> => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...toArgs(setting, command)], {
    stdio: ['ignore', 'pipe', 'pipe']
  })
  for (;;) {
    await new Promise(resolve => setTimeout(resolve, 20))
    if (child.exitCode !== null) throw new Error(`${command.join(' ')} ended with ${child.exitCode}`)
    const inside = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
    if (inside === '') continue
    // Until bash, chroot and env have become the command.
    const name = readFileSync(`/proc/${inside}/comm`, 'utf8').trim()
    if (!['unshare', 'bash', 'chroot', 'env'].includes(name)) return { child, pid: Number(inside) }
  }
}

// What the registry and its certificates are on this machine; an image is built with those of its own.
const certificates = '/etc/ssl/certs/ca-certificates.crt'

/** The environment of steps that install packages. */
export const buildEnv = (): Record<string, string> => ({
  npm_config_registry: run('npm', ['config', 'get', 'registry']).trim(),
  npm_config_update_notifier: 'false',
  ...existsSync(certificates) ? { NODE_EXTRA_CA_CERTS: certificates } : {}
})

const installNode = (root: string): void => {
  const { version } = process
  const folder = join(root, 'tmp', 'node')
  mkdirSync(folder)
  const packed = (name: string, into: string, ...only: string[]) => {
    run('npm', ['pack', name, '--pack-destination', folder, '--silent'], folder)
    const archive = join(folder, readdirSync(folder).find(file => file.endsWith('.tgz')) ?? '')
    mkdirSync(into, { recursive: true })
    run('tar', ['-xzf', archive, '--no-same-owner', '--strip-components=1', '-C', into, ...only])
    rmSync(archive)
  }
  packed(`node-linux-${process.arch}@${version.slice(1)}`, join(root, 'usr/local'), 'package/bin/node')
  packed('npm@11', join(root, 'usr/local/lib/node_modules/npm'))
  for (const name of ['npm', 'npx']) {
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, 'usr/local/bin', name))
  }
  rmSync(folder, { recursive: true })
}

const toMirror = (): string => {
  const sources = [...globSync('/etc/apt/sources.list.d/*'), '/etc/apt/sources.list'].filter(path => existsSync(path))
  const text = sources.map(path => readFileSync(path, 'utf8')).join('\n')
  return /https?:\/\/\S*\/debian(?=\s|$)/m.exec(text)?.[0] ?? 'http://deb.debian.org/debian'
}

/** A root like that of node:24-bookworm-slim: Debian's minimal system, Node, npm and the user `node`. Made once. */
export const baseRoot = (suite: string): string => {
  const root = join(tmpdir(), `job-status-image-${suite}-${process.version}`)
  if (existsSync(root)) return root
  const install = 'apt-get update -qq && apt-get install -qq -y debootstrap'
  if (spawnSync('debootstrap', ['--version']).status !== 0) run('sh', ['-c', install])
  const made = `${root}.${process.pid}`
  run('debootstrap', ['--variant=minbase', suite, made, toMirror()])
  run('chroot', [made, 'groupadd', '--gid', '1000', 'node'])
  run('chroot', [made, 'useradd', '--uid', '1000', '--gid', 'node', '--shell', '/bin/bash', '--create-home', 'node'])
  installNode(made)
  renameSync(made, root)
  return root
}

/** A copy of a root, which may reach the network. */
export const copyRoot = (from: string, to: string): void => {
  run('cp', ['-a', '--reflink=auto', from, to])
  cpSync('/etc/resolv.conf', join(to, 'etc/resolv.conf'), { dereference: true })
  if (existsSync(certificates)) {
    mkdirSync(join(to, dirname(certificates)), { recursive: true })
    cpSync(certificates, join(to, certificates), { dereference: true })
  }
}

/** COPY: files of a folder into a root, where they belong to root. */
export const copyInto = (from: string, words: readonly string[], { root, cwd }: Setting): void => {
  const target = words.at(-1) ?? ''
  const inRoot = join(root, target.startsWith('/') ? target : join(cwd, target))
  for (const word of words.slice(0, -1)) {
    const path = word.replace(/^\//, '')
    const sources = existsSync(join(from, path)) ? [path] : globSync(path, { cwd: from })
    if (sources.length === 0) throw new Error(`COPY: there is no ${word}`)
    for (const source of sources) {
      const isInto = target.endsWith('/') && statSync(join(from, source)).isFile()
      const to = isInto ? join(inRoot, basename(source)) : inRoot
      mkdirSync(dirname(to), { recursive: true })
      cpSync(join(from, source), to, { recursive: true })
      run('chown', ['-R', '0:0', to])
    }
  }
}
