import { cpSync, globSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parse } from 'yaml'

/*
 * The files that say how the service is deployed.
 */

const root = join(import.meta.dirname, '..', '..')

/** The text of a file of the project. */
export const textOf = (path: string): string => readFileSync(join(root, path), 'utf8')

// As Docker matches: a * also matches a dot at the beginning.
const toExpression = (glob: string): RegExp => new RegExp(`^${glob
  .replace(/[.+^${}()|[\]\\]/g, '\\$&')
  .replace(/\*\*\/|\*\*|\*|\?/g, found => ({ '**/': '(?:.*/)?', '**': '.*', '*': '[^/]*' })[found] ?? '[^/]')}$`)

/** Whether .dockerignore keeps a path out: the last pattern that matches it, or a folder that it is in, decides. */
export const isIgnored = (patterns: readonly string[], path: string): boolean => {
  const parts = path.split('/')
  const prefixes = parts.map((_, at) => parts.slice(0, at + 1).join('/'))
  return patterns.reduce((ignored, pattern) => {
    const expression = toExpression(pattern.replace(/^!/, '').replace(/\/$/, ''))
    return prefixes.some(prefix => expression.test(prefix)) ? !pattern.startsWith('!') : ignored
  }, false)
}

/** The patterns of .dockerignore. */
export const ignorePatterns = (): string[] =>
  textOf('.dockerignore').split('\n').filter(line => line.trim() !== '' && !line.startsWith('#'))

/** The files of the project that a build gets. */
export const contextFiles = (): string[] => {
  const exclude = (path: string) => ['node_modules', '.git', '.tap'].includes(basename(path))
  const patterns = ignorePatterns()
  return globSync(['**/*', '.*', '.*/**/*'], { cwd: root, exclude })
    .filter(path => statSync(join(root, path)).isFile() && !isIgnored(patterns, path))
}

/** Copies what a build gets into a folder. */
export const makeContext = (folder: string): void => {
  for (const path of contextFiles()) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    cpSync(join(root, path), join(folder, path))
  }
}

export type ComposeService = {
  image?: string
  command?: string[]
  environment?: Record<string, string>
  healthcheck?: { test: string[] }
  stop_grace_period?: string
  depends_on?: Record<string, { condition: string }>
  ports?: string[]
  [name: string]: unknown
}

/** What compose.yaml says. */
export const readCompose = (): { services: Record<string, ComposeService> } =>
  parse(textOf('compose.yaml')) as { services: Record<string, ComposeService> }

export type Probe = { httpGet: { path: string, port: string }, periodSeconds: number, failureThreshold?: number }

export type Manifest = { apiVersion: string, kind: string, metadata: { name: string }, spec: Record<string, unknown> }

/** The Kubernetes manifests of docs/operations.md: the indented block that begins with an apiVersion. */
export const readManifests = (): Manifest[] => {
  const [block = ''] = /^ {4}apiVersion:.*\n(?:(?: {4}.*)?\n)*/m.exec(textOf('docs/operations.md')) ?? []
  return block.replace(/^ {4}/gm, '').split(/^---$/m).map(text => parse(text) as Manifest)
}
