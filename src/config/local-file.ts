import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Returns what a file of a local service holds. It is made once, readable by its owner alone. */
export const readOrCreateFile = (path: string, make: () => string): string => {
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 })
    // The file is complete before it gets its name, so that two processes that start at once use the same secret.
    const draft = `${path}.${process.pid}`
    writeFileSync(draft, make(), { mode: 0o600 })
    try {
      linkSync(draft, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      unlinkSync(draft)
    }
  }
  return readFileSync(path, 'utf8').trim()
}
