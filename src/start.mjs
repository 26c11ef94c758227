// `npm start` begins here, in plain JavaScript: Node's compile cache is on before any TypeScript is read.
import { lstatSync, mkdirSync } from 'node:fs'
import { constants, enableCompileCache, flushCompileCache, getCompileCacheDir } from 'node:module'
import { resolve } from 'node:path'

const data = resolve('data')
const folder = resolve(data, 'compile-cache')
// After the start, so that a process that is killed leaves its code behind, too.
const flushAfterMs = 1000

// What the folder holds is run as code, so no other user may write there.
const isOwn = path => {
  const found = lstatSync(path)
  return found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0
}

// The cache holds compiled code and TypeScript without its types. Without it a start takes twice as long, and loads the
// compiler that strips them, which takes 20 MB for good. A start never fails for want of it.
const enable = () => {
  // NODE_COMPILE_CACHE names another folder.
  if (getCompileCacheDir() !== undefined) return
  try {
    mkdirSync(data, { recursive: true, mode: 0o750 })
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    if (!isOwn(folder)) return
  } catch {
    return
  }
  const { status } = enableCompileCache(folder)
  if (status !== constants.compileCacheStatus.ENABLED) return
  // The threads of the processors read it.
  process.env.NODE_COMPILE_CACHE = folder
  setTimeout(flushCompileCache, flushAfterMs).unref()
}

enable()
await import('./main.ts')
