import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os'
import { promisify } from 'node:util'
import type { SuiteResult } from './result.ts'

const run = promisify(execFile)

const packages = ['fastify', '@fastify/jwt', 'ioredis', 'better-sqlite3', 'autocannon']

const firstLine = async (program: string, args: string[]): Promise<string | null> =>
  await run(program, args, { cwd: import.meta.dirname })
    .then(({ stdout }) => stdout.split('\n', 1)[0] ?? '', () => null)

const packageVersion = async (name: string): Promise<string> => {
  const manifest = await readFile(`${import.meta.dirname}/../node_modules/${name}/package.json`, 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

export const toMachine = (): SuiteResult['machine'] => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 1024 ** 3),
  platform: `${platform()} ${release()} ${arch()}`
})

export const findVersions = async (): Promise<Record<string, string>> => ({
  node: process.versions.node,
  ...Object.fromEntries(await Promise.all(packages.map(async name => [name, await packageVersion(name)] as const))),
  'redis-server': /v=(\S+)/.exec(await firstLine('redis-server', ['--version']) ?? '')?.[1] ?? 'unknown'
})

/** The commit of the working tree, followed by `-dirty` if there are changes; null outside a repository. */
export const findCommit = async (): Promise<string | null> => {
  const commit = await firstLine('git', ['rev-parse', 'HEAD'])
  const changes = await firstLine('git', ['status', '--porcelain'])
  return commit === null || commit === '' ? null : commit + (changes === '' ? '' : '-dirty')
}
