import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { ensureBinaries } from '../scripts/services.ts'
import { compareResults, readResult } from './compare.ts'
import { toMachine } from './environment.ts'
import type { Durations } from './measure.ts'
import { toMarkdown } from './report/markdown.ts'
import { createProgress } from './report/progress.ts'
import { writeReports } from './report/write.ts'
import { remoteDurations, remoteScenarios, runRemote } from './remote.ts'
import type { SuiteResult } from './result.ts'
import { quickScenarios, type Scenario, scenarios } from './scenarios.ts'
import { countSteps, fullDurations, quickDurations, runSuite } from './suite.ts'

/*
 * The command line of the bench. Exit codes: 0 passed; 99 a budget was broken, twice; 2 the run says nothing, or the
 * command was wrong.
 */

const exitCodes: Record<SuiteResult['outcome'], number> = { passed: 0, breach: 99, invalid: 2 }

// Programs of their own, which print a table and hold nothing against it.
const volumes = ['claims', 'uploads', 'results', 'inputs', 'pruning', 'overload', 'outages', 'soak']

type Options = {
  quick?: true
  only?: string[]
  compare?: string
  url?: string
  token?: string
  job: string[]
  rate?: number
  rounds?: number
  seconds?: number
  out: string
  serviceArg: string[]
}

const toPositive = (text: string): number => {
  const number = Number(text)
  if (!(number > 0)) throw new InvalidArgumentError('must be a number above 0.')
  return number
}
const toCount = (text: string): number => {
  const number = toPositive(text)
  if (!Number.isInteger(number)) throw new InvalidArgumentError('must be a whole number.')
  return number
}
const collect = (text: string, before: string[]): string[] => [...before, text]
const toUrl = (text: string): string => {
  if (!/^https?:$/.test(URL.canParse(text) ? new URL(text).protocol : '')) throw new InvalidArgumentError('must be a URL of http or https.')
  return text.replace(/\/+$/, '')
}

const command = new Command('bench')
  .description('Measure the service, hold it against its budgets (bench/budgets.ts), and write reports.')
  .argument('[volumes...]', `instead: ${volumes.join(', ')}, which only print what they measured`)
  .option('--quick', 'the scenarios that fit into a minute, with budgets for a noisy machine')
  .option('--only <names>', `scenarios, separated by commas: ${scenarios.map(({ name }) => name).join(', ')}`, text => text.split(','))
  .option('--compare <file>', 'also compare with this earlier result (JSON) of the same machine')
  .option('--url <url>', 'measure the service that runs there: latencies and errors only', toUrl)
  .option('--token <token>', 'the bearer token for --url')
  .option('--job <id>', 'a job to poll there; can be repeated (default: one is submitted, and cancelled afterwards)', collect, [])
  .option('--rate <n>', 'requests a second there (default: 2000)', toCount)
  .option('--rounds <n>', 'rounds of each scenario', toCount)
  .option('--seconds <n>', 'seconds of each measurement', toPositive)
  .option('--out <folder>', 'where the reports go', resolve(import.meta.dirname, 'results'))
  .addOption(new Option('--service-arg <arg>', 'an argument for the Node of the service: --cpu-prof, --import=…; can be repeated').argParser(collect).default([]))
  // Of those, 99 and 0 have a meaning.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))

const refuse = (message: string): never => command.error(`error: ${message}`)

const runVolumes = (names: readonly string[]): void => {
  for (const name of names) {
    process.stdout.write(`\n# ${name}\n\n`)
    const { status } = spawnSync(process.execPath, [resolve(import.meta.dirname, 'volume', `${name}.ts`)], { stdio: 'inherit' })
    if (status !== 0) process.exitCode = 1
  }
}

const select = (from: readonly Scenario[], only: readonly string[] | undefined): readonly Scenario[] => {
  const unknown = only?.filter(name => !from.some(scenario => scenario.name === name)) ?? []
  if (unknown.length > 0) refuse(`no such scenario: ${unknown.join(', ')}; there are ${from.map(({ name }) => name).join(', ')}`)
  return from.filter(({ name }) => only?.includes(name) ?? true)
}

const toDurations = (durations: Durations, { rounds, seconds }: Options): Durations => ({
  ...durations,
  ...(rounds === undefined ? {} : { rounds }),
  ...(seconds === undefined ? {} : { warmUpSeconds: seconds, capacitySeconds: seconds, latencySeconds: seconds })
})

// Before minutes are spent on a run that cannot be compared.
const readBase = async (path: string): Promise<SuiteResult> => {
  const base = await readResult(path)
  if (JSON.stringify(base.machine) !== JSON.stringify(toMachine())) throw new Error(`${path} is of another machine`)
  return base
}

const runLocal = async (options: Options): Promise<SuiteResult> => {
  const isQuick = options.quick === true
  const selected = select(isQuick ? quickScenarios : scenarios, options.only)
  const durations = toDurations(isQuick ? quickDurations : fullDurations, options)
  ensureBinaries()
  const progress = createProgress({ stream: process.stderr, total: countSteps({ scenarios: selected, durations }) })
  try {
    return await runSuite({ scenarios: selected, mode: isQuick ? 'quick' : 'full', durations, serviceArgs: options.serviceArg, progress })
  } finally {
    progress.stop()
  }
}

const runElsewhere = async (options: Options, url: string): Promise<SuiteResult> => {
  if (options.token === undefined) refuse('--url needs --token')
  const selected = select(remoteScenarios, options.only)
  const durations = toDurations(options.quick === true ? { ...remoteDurations, rounds: 1 } : remoteDurations, options)
  const progress = createProgress({ stream: process.stderr, total: countSteps({ scenarios: selected, durations }) })
  try {
    return await runRemote({ url, token: options.token ?? '', jobIds: options.job, scenarios: selected, rate: options.rate, durations, progress })
  } finally {
    progress.stop()
  }
}

const main = async (): Promise<void> => {
  command.parse()
  const options = command.opts<Options>()
  const unknown = command.args.filter(name => !volumes.includes(name))
  if (unknown.length > 0) refuse(`no such bench: ${unknown.join(', ')}; there are ${volumes.join(', ')}`)
  if (command.args.length > 0) return runVolumes(command.args)
  const base = options.compare === undefined ? undefined : await readBase(options.compare)

  const result = options.url === undefined ? await runLocal(options) : await runElsewhere(options, options.url)
  const paths = await writeReports(result, options.out)
  process.stdout.write(toMarkdown(result))
  if (base !== undefined) process.stdout.write(`\n${compareResults(base, result)}`)
  process.stdout.write(`\n${paths.join('\n')}\n`)
  process.exitCode = exitCodes[result.outcome]
}

// What is in memory would stay there.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(2))

try {
  await main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  if (error instanceof Error && error.cause instanceof Error) console.error(error.cause.message)
  process.exitCode = 2
}
