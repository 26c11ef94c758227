// Runs dependency-cruiser. It passes on 0 modules if it cannot use the installed TypeScript, so that case fails here.
import { spawnSync } from 'node:child_process'

type Cruise = {
  modules: Array<{ source: string }>
  summary: { violations: unknown[], error: number, warn: number }
}

const folders = ['src', 'scripts']

function cruise (...args: string[]): string {
  return spawnSync('depcruise', [...folders, ...args], {
    encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, stdio: ['ignore', 'pipe', 'inherit']
  }).stdout
}

const { modules, summary } = JSON.parse(cruise('--output-type', 'json')) as Cruise
const sources = modules.filter(({ source }) => source.startsWith('src/') && source.endsWith('.ts'))

if (sources.length === 0) {
  console.error('layering: no module of src was read')
  process.exitCode = 1
} else if (summary.error + summary.warn > 0) {
  console.error(cruise())
  process.exitCode = 1
} else {
  console.log(`layering: ${sources.length} modules of src keep the import rules`)
}
