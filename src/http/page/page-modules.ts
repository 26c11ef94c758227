import { readFileSync } from 'node:fs'
import { type Module, readModules } from './module-graph.ts'

/*
 * The modules of the page as a browser loads them: those of src/ui, those of src/client that they import, and the packages
 * under `ui/libraries/`.
 */

/** The files of packages that the page loads. The first of each is what its name stands for. */
const libraryFiles: Record<string, readonly string[]> = {
  preact: ['preact.mjs'],
  htm: ['htm.mjs'],
  uplot: ['uPlot.esm.js', 'uPlot.min.css']
}

/** By the names under which the page loads them. */
export const findLibraries = (): ReadonlyMap<string, URL> =>
  new Map(Object.entries(libraryFiles).flatMap(([name, files]) =>
    files.map(file => [`ui/libraries/${name}/${file}`, new URL(file, import.meta.resolve(name))] as const)))

// A browser resolves relative names only, and src/ui imports packages in modules of its top folder only.
const toRelativeImports = (text: string): string => text.replaceAll(
  /(?<=\bfrom\s*)(['"])([a-z][\w-]*)\1/g,
  (all, _quote, name: string) => libraryFiles[name] === undefined ? all : `'./libraries/${name}/${libraryFiles[name][0]}'`
)

/** The module `main` and all that it imports. `toText` makes a source one that browsers can load. */
export const readPageModules = (main: string, root: string, toText: (source: string) => string): Module[] => {
  const libraries = findLibraries()
  return readModules(main, name => {
    const library = libraries.get(name)
    if (library !== undefined) return readFileSync(library, 'utf8')
    return toRelativeImports(toText(readFileSync(new URL(name, root), 'utf8')))
  })
}
