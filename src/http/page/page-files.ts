import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { gzip } from 'node:zlib'
import { type Module, neededBy } from './module-graph.ts'
import { findLibraries, readPageModules } from './page-modules.ts'

/*
 * The files of the page: the modules of src/ui and those of src/client that they import, from which the types are
 * removed, and the modules of packages. Nothing is bundled: browsers load modules.
 */

// In the published package the modules are compiled already.
const isCompiled = import.meta.url.endsWith('.js')
const root = new URL('../../', import.meta.url)
const main = isCompiled ? 'ui/main.js' : 'ui/main.ts'

const contentTypes: Partial<Record<string, string>> = {
  '.ts': 'text/javascript; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml'
}

/** A file of the page, as it is and compressed. */
export type PageFile = { body: Buffer, gzipped: Buffer, contentType: string }

/** `version` names exactly these files. `modules` are those that the page needs at once, `main` first. */
export type PageFiles = { version: string, files: ReadonlyMap<string, PageFile>, modules: readonly string[] }

const loadModules = async (): Promise<Module[]> => {
  if (isCompiled) return readPageModules(main, root.href, source => source)
  const thread = new Worker(new URL('./strip-thread.ts', import.meta.url), {
    workerData: { root: root.href, main }, execArgv: ['--disable-warning=ExperimentalWarning']
  })
  const [modules] = await once(thread, 'message') as [Module[]]
  return modules
}

type Texts = ReadonlyMap<string, string>

const readTexts = async (modules: readonly Module[]): Promise<Texts> => {
  const others = (await readdir(new URL('ui/', root))).filter(name => ['.css', '.svg'].includes(extname(name))).sort()
  const styles = [...findLibraries()].filter(([name]) => name.endsWith('.css'))
  return new Map([
    ...modules.map(({ name, text }) => [name, text] as const),
    ...await Promise.all(others.map(async name => [`ui/${name}`, await readFile(new URL(`ui/${name}`, root), 'utf8')] as const)),
    ...await Promise.all(styles.map(async ([name, url]) => [name, await readFile(url, 'utf8')] as const))
  ])
}

const compress = promisify(gzip)

/** Reads the files of the page. */
export const loadPageFiles = async (): Promise<PageFiles> => {
  const modules = await loadModules()
  const texts = await readTexts(modules)
  const hash = createHash('sha256')
  for (const [name, text] of texts) hash.update(`${name}\n${text}\n`)
  const files = await Promise.all([...texts].map(async ([name, text]) => {
    const body = Buffer.from(text)
    const contentType = contentTypes[extname(name)] ?? 'application/octet-stream'
    return [name, { body, gzipped: await compress(body), contentType }] as const
  }))
  return { version: hash.digest('base64url').slice(0, 16), files: new Map(files), modules: neededBy(main, modules) }
}
