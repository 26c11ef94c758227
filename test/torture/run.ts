import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type DatabaseKind, databaseKinds } from './database.ts'
import { runTorture } from './torture.ts'
import { type RedisKind, redisKinds } from './world.ts'

/*
 * npm run torture -- --minutes N: one round after the other, each with a database, a Redis and a seed of its own. A round
 * that finds something leaves its history, and its seed repeats it.
 */

type Options = {
  minutes: number, seed: number, seconds: number, processes?: number, redis: RedisKind, database: DatabaseKind, fault?: string, only?: string[], bursts: number, quiet?: boolean
}

const toNumber = (text: string): number => {
  const number = Number(text)
  if (!(number > 0 && Number.isFinite(number))) throw new InvalidArgumentError('It must be a number above 0.')
  return number
}

const toCount = (text: string): number => {
  const count = toNumber(text)
  if (!Number.isInteger(count)) throw new InvalidArgumentError('It must be a whole number.')
  return count
}

const { minutes, seed: firstSeed, seconds, processes, redis, database, fault, only, bursts, quiet } = new Command()
  .description('Breaks everything behind several service processes while they are used, and judges what they answered.')
  .option('--minutes <n>', 'for how long', toNumber, 1)
  .option('--seed <n>', 'of the first round; the next ones count up', toCount, Date.now() % 2 ** 31)
  .option('--seconds <n>', 'how long one round is', toNumber, 60)
  .option('--processes <n>', 'how many service processes; otherwise 2 to 4 by turns', toCount)
  .addOption(new Option('--redis <kind>', 'what the processes share').choices(redisKinds).default('server'))
  .addOption(new Option('--database <kind>', 'where the record is').choices(databaseKinds).default('sqlite'))
  .option('--fault <name>', 'break a rule of the service on purpose: a file of test/torture/faults')
  .option('--only <names>', 'inflict only faults whose names have one of these parts, with commas between', text =>
    text.split(',').filter(Boolean))
  .option('--bursts <n>', 'how many polls some clients send at once at most; 0: none does', Number, 16)
  .option('--quiet', 'do not print each fault')
  .parse().opts<Options>()

const roundSeconds = Math.min(seconds, minutes * 60)
const entry = fault === undefined ? undefined : join(import.meta.dirname, 'faults', `${fault}.ts`)
const endAt = performance.now() + minutes * 60_000
let found = 0
let operations = 0

for (let seed = firstSeed; performance.now() < endAt; seed++) {
  const folder = mkdtempSync(join(tmpdir(), 'torture-'))
  const count = processes ?? 2 + seed % 3
  console.log(`round with seed ${seed}, ${count} processes`)
  const log = quiet === true ? undefined : (text: string) => { console.log(`  ${text}`) }
  const { violations, figures, history } = await runTorture({
    seed,
    durationMs: roundSeconds * 1000,
    processes: count,
    folder,
    entry,
    redis,
    database,
    only,
    burstSize: bursts,
    judgesTimes: true,
    ...(log && { log })
  })
  console.log(JSON.stringify(figures, null, 1))
  console.log(`${violations.length} violations`)
  // What a process says of its own end explains what its clients saw before.
  const [ofProcesses, others] = [true, false].map(isOf => violations.filter(({ rule }) => (rule === 'log') === isOf))
  for (const { rule, at, text } of [...ofProcesses ?? [], ...others ?? []].slice(0, 20)) {
    console.log(`  ${(at / 1000).toFixed(2)} s ${rule}: ${text}`)
  }
  if (violations.length > 0) {
    const path = join(folder, 'history.json')
    writeFileSync(path, JSON.stringify(history))
    const others = [
      ...redis === 'server' ? [] : ['--redis', redis], ...database === 'sqlite' ? [] : ['--database', database], ...fault === undefined ? [] : ['--fault', fault],
      ...bursts === 16 ? [] : ['--bursts', bursts],
      ...only === undefined ? [] : ['--only', `'${only.join(',')}'`]
    ].join(' ')
    console.log(
      `  ${path}; again: npm run torture -- --seed ${seed} --seconds ${roundSeconds} --processes ${count} ${others}`
    )
  } else {
    rmSync(folder, { recursive: true, force: true })
  }
  found += violations.length
  operations += figures.operations
}
console.log(`${operations} operations, ${found} violations`)
process.exitCode = found === 0 ? 0 : 1
