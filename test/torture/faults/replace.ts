import { registerHooks } from 'node:module'

/**
 * Puts another module in the place of one of the service's, wherever that is imported from. The other one can have the
 * original, under its path with `?original`.
 */
export const replaceModule = (path: string, replacement: string): void => {
  const { href } = new URL(`../../../src/${path}`, import.meta.url)
  registerHooks({
    resolve: (specifier, context, nextResolve) => {
      const resolved = nextResolve(specifier, context)
      return resolved.url === href ? { ...resolved, url: replacement } : resolved
    }
  })
}
