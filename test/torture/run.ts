import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { runTorture } from './torture.ts'

/*
 * npm run torture -- --minutes N: one round after the other, each with a database, a Redis and a seed of its own. A round
 * that finds something leaves its history, and its seed repeats it.
 */

type Options = { minutes: string, seed: string, seconds: string, processes?: string, fault?: string, only?: string, quiet?: boolean }

const { minutes, seed: firstSeed, seconds, processes, fault, only, quiet } = new Command()
  .description('Breaks everything behind several service processes while they are used, and judges what they answered.')
  .option('--minutes <n>', 'for how long', '1')
  .option('--seed <n>', 'of the first round; the next ones count up', String(Date.now() % 2 ** 31))
  .option('--seconds <n>', 'how long one round is', '60')
  .option('--processes <n>', 'how many service processes; otherwise 2 to 4 by turns')
  .option('--fault <name>', 'break a rule of the service on purpose: a file of test/torture/faults')
  .option('--only <names>', 'inflict only faults whose names have one of these parts, with commas between')
  .option('--quiet', 'do not tell of each fault')
  .parse().opts<Options>()

const roundMs = Math.min(Number(seconds), Number(minutes) * 60) * 1000
const imports = fault === undefined ? [] : [join(import.meta.dirname, 'faults', `${fault}.ts`)]
const endAt = performance.now() + Number(minutes) * 60_000
let found = 0

for (let seed = Number(firstSeed); performance.now() < endAt; seed++) {
  const folder = mkdtempSync(join(tmpdir(), 'torture-'))
  const count = processes === undefined ? 2 + seed % 3 : Number(processes)
  console.log(`round with seed ${seed}, ${count} processes`)
  const tell = quiet === true ? undefined : (text: string) => { console.log(`  ${text}`) }
  const { violations, figures, history } = await runTorture({ seed, durationMs: roundMs, processes: count, folder, imports, only: only === undefined ? undefined : only.split(',').filter(Boolean), ...(tell && { tell }) })
  console.log(JSON.stringify(figures, null, 1))
  console.log(`${violations.length} violations`)
  for (const { rule, at, text } of violations.slice(0, 20)) console.log(`  ${(at / 1000).toFixed(2)} s ${rule}: ${text}`)
  if (violations.length > 0) {
    const path = join(folder, 'history.json')
    writeFileSync(path, JSON.stringify(history))
    console.log(`  ${path}; again: npm run torture -- --seed ${seed} --seconds ${seconds} --processes ${count}`)
  } else {
    rmSync(folder, { recursive: true, force: true })
  }
  found += violations.length
}
process.exitCode = found === 0 ? 0 : 1
