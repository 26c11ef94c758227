/*
 * Which modules a page loads, found by their texts: browsers resolve imports in the same way.
 */

/** A module by its path from the root, its text, and the relative imports in it. */
export type Module = { name: string, text: string, needed: readonly string[], later: readonly string[] }

const resolve = (name: string, found: Iterable<RegExpExecArray>): string[] =>
  Array.from(found, ([, path = '']) => new URL(path, `file:///${name}`).pathname.slice(1))

const toModule = (name: string, text: string): Module => ({
  name,
  text,
  needed: resolve(name, text.matchAll(/^(?:import|export|\}).*?\bfrom\s*['"](\.[^'"]+)['"]/gm)),
  later: resolve(name, text.matchAll(/\bimport\(['"](\.[^'"]+)['"]\)/g))
})

/** The module and all that it imports, now or later. */
export const readModules = (main: string, read: (name: string) => string): Module[] => {
  const found = new Map<string, Module>()
  const waiting = [main]
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (found.has(name)) continue
    const module = toModule(name, read(name))
    found.set(name, module)
    waiting.push(...module.needed, ...module.later)
  }
  return [...found.values()]
}

/** The names of the module and of those that it needs at once; the module first. */
export const neededBy = (main: string, modules: readonly Module[]): string[] => {
  const byName = new Map(modules.map(module => [module.name, module]))
  const names = new Set([main])
  // A set also goes through what is added to it meanwhile.
  for (const name of names) for (const needed of byName.get(name)?.needed ?? []) names.add(needed)
  return [...names]
}
