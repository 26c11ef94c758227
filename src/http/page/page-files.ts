import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { gzip } from 'node:zlib'

/*
 * The files of the page: the modules of src/ui, from which the types are removed, and the modules of the packages that
 * they import. Nothing is bundled: browsers load modules.
 */

const folder = new URL('../../ui/', import.meta.url)
// In the published package the modules are compiled already.
const moduleExtension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'

const contentTypes: Partial<Record<string, string>> = {
  '.ts': 'text/javascript; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml'
}

/** The files of packages that the page loads, under `libraries/`. The first of each is what its name stands for. */
const libraryFiles: Record<string, readonly string[]> = {
  preact: ['preact.mjs'],
  htm: ['htm.mjs'],
  'eventsource-parser': ['index.js', 'parse.js', 'errors.js'],
  uplot: ['uPlot.esm.js', 'uPlot.min.css']
}

/** A file of the page, as it is and compressed. */
export type PageFile = { body: Buffer, gzipped: Buffer, contentType: string }

/** `version` names exactly these files. `modules` are those that the page needs at once, `main` first. */
export type PageFiles = { version: string, files: ReadonlyMap<string, PageFile>, modules: readonly string[] }

const isModule = (name: string): boolean => extname(name) === moduleExtension && !name.endsWith('.d.ts')

const readModules = async (names: readonly string[]): Promise<string[]> => {
  const paths = names.map(name => fileURLToPath(new URL(name, folder)))
  if (moduleExtension === '.js') return await Promise.all(paths.map(path => readFile(path, 'utf8')))
  const thread = new Worker(new URL('./strip-thread.ts', import.meta.url), {
    workerData: paths, execArgv: ['--disable-warning=ExperimentalWarning']
  })
  const [texts] = await once(thread, 'message') as [string[]]
  return texts
}

// A browser resolves relative names only, and src/ui imports packages in modules of its top folder only.
const toRelativeImports = (text: string): string => text.replaceAll(
  /(?<=\bfrom\s*)(['"])([a-z][\w-]*)\1/g,
  (all, _quote, name: string) => libraryFiles[name] === undefined ? all : `'./libraries/${name}/${libraryFiles[name][0]}'`
)

const readTexts = async (): Promise<Map<string, string>> => {
  const names = (await readdir(folder, { recursive: true })).map(name => name.replaceAll('\\', '/')).sort()
  const modules = names.filter(isModule)
  const others = names.filter(name => ['.css', '.svg'].includes(extname(name)))
  const libraries = Object.entries(libraryFiles).flatMap(([name, files]) => files.map(file => ({
    name: `libraries/${name}/${file}`, url: new URL(file, import.meta.resolve(name))
  })))
  const texts = await readModules(modules)
  return new Map([
    ...modules.map((name, index) => [name, toRelativeImports(texts[index] ?? '')] as const),
    ...await Promise.all(others.map(async name => [name, await readFile(new URL(name, folder), 'utf8')] as const)),
    ...await Promise.all(libraries.map(async ({ name, url }) => [name, await readFile(url, 'utf8')] as const))
  ])
}

/** The module and those that it imports, but not those that it loads later. */
const importedBy = (name: string, texts: ReadonlyMap<string, string>, found = new Set<string>()): Set<string> => {
  const text = texts.get(name)
  if (text === undefined || found.has(name)) return found
  found.add(name)
  for (const [, path = ''] of text.matchAll(/^(?:import|export|\}).*?\bfrom\s*['"](\.[^'"]+)['"]/gm)) {
    importedBy(new URL(path, `file:///${name}`).pathname.slice(1), texts, found)
  }
  return found
}

const compress = promisify(gzip)

/** Reads the files of the page. */
export const loadPageFiles = async (): Promise<PageFiles> => {
  const texts = await readTexts()
  const hash = createHash('sha256')
  for (const [name, text] of texts) hash.update(`${name}\n${text}\n`)
  const files = await Promise.all([...texts].map(async ([name, text]) => {
    const body = Buffer.from(text)
    const contentType = contentTypes[extname(name)] ?? 'application/octet-stream'
    return [name, { body, gzipped: await compress(body), contentType }] as const
  }))
  const modules = [...importedBy(`main${moduleExtension}`, texts)]
  return { version: hash.digest('base64url').slice(0, 16), files: new Map(files), modules }
}
