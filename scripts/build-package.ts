import { spawnSync } from 'node:child_process'
import { cpSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

/*
 * Builds dist/ for the package, since Node strips no types from files under node_modules. It prints nothing but
 * failures: what it would print ends in the output of `npm pack --json`.
 */

rmSync('dist', { recursive: true, force: true })
const compile = (...options: string[]): void => {
  const { status, stdout } = spawnSync('tsc', options, { encoding: 'utf8' })
  if (status === 0) return
  process.stderr.write(stdout)
  process.exit(1)
}
compile('-p', 'tsconfig.build.json')
// The page, with the client, is compiled for browsers.
compile('-p', 'src/ui', '--noEmit', 'false', '--rootDir', 'src', '--outDir', 'dist')
for (const path of globSync('src/ui/**/*.{css,svg}')) cpSync(path, path.replace('src', 'dist'))
// TypeScript writes the imports of declarations with .ts, which are no files of the package.
for (const path of globSync('dist/**/*.d.ts')) {
  writeFileSync(path, readFileSync(path, 'utf8').replace(/((?:from |import\()['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2'))
}
// Threads are started by URL, which the compiler leaves as it is.
const entry = /(new URL\('\.[^']*)\.ts(', import\.meta\.url\))/g
for (const path of globSync('dist/**/*.js')) {
  const text = readFileSync(path, 'utf8')
  const built = text.replace(entry, '$1.js$2')
  if (built !== text) writeFileSync(path, built)
}
