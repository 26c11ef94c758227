import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { ensureBinaries } from '../scripts/services.ts'
import { withBounds } from './budgets.ts'
import { compareResults, readResult } from './compare.ts'
import { toMachine } from './environment.ts'
import type { Durations } from './measure.ts'
import { isToken, redact } from './reach.ts'
import { toMarkdown } from './report/markdown.ts'
import { createProgress } from './report/progress.ts'
import { writeReports } from './report/write.ts'
import { remoteDurations, remoteScenarios, runRemote } from './remote.ts'
import type { SuiteResult } from './result.ts'
import { quickScenarios, type Scenario, scenarios } from './scenarios.ts'
import { countSteps, fullDurations, quickDurations, runSuite } from './suite.ts'

/*
 * The command line of the bench. Exit codes: 0 if the run passed, 99 if a budget was broken twice, 2 if the run is
 * invalid or the command line is wrong.
 */

const exitCodes: Record<SuiteResult['outcome'], number> = { passed: 0, breach: 99, invalid: 2 }

// Separate programs. Each prints a table; some compare their figures with bounds of their own, and exit with 1.
const ofWaiting = ['waiters', 'notice', 'polling', 'followers', 'callbacks']
const volumes = [
  'start', 'claims', 'reports', 'uploads', 'results', 'inputs', 'replica-notice', 'pruning', 'lists', 'overload',
  'outages', 'soak', 'processes', ...ofWaiting
]
// Also part of the quick run, each with --quick.
const quickVolumes = ['waiters']

type Options = {
  quick?: true
  only?: string[]
  compare?: string
  url?: string
  token?: string
  p95?: number
  p99?: number
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
const toNames = (text: string): string[] => text.split(',')
const toUrl = (text: string): string => {
  const protocol = URL.canParse(text) ? new URL(text).protocol : ''
  if (!/^https?:$/.test(protocol)) throw new InvalidArgumentError('must be an http or https URL.')
  const { username, password } = new URL(text)
  // commander would print the value with its own message.
  if (username !== '' || password !== '') command.error('error: --url must have neither user nor password')
  return text.replace(/\/+$/, '')
}

const command = new Command('bench')
  .description('Measure the service, compare it with its budgets (bench/budgets.ts) and write reports.')
  .argument('[volumes...]', `run these programs instead, which only print their figures: ${volumes.join(', ')}`)
  .option('--quick', 'the scenarios that fit into one minute, with budgets for a noisy machine')
  .option('--only <names>', `comma-separated scenarios: ${scenarios.map(({ name }) => name).join(', ')}`, toNames)
  .option('--compare <file>', 'also compare with this earlier result (JSON) of the same machine')
  .option('--url <url>', 'measure a deployed service: latencies and errors only', toUrl)
  .option('--token <token>', 'bearer token for --url; BENCH_TOKEN keeps it out of the list of processes')
  .option('--p95 <ms>', 'with --url: highest P95 (without it: 50)', toPositive)
  .option('--p99 <ms>', 'with --url: highest P99', toPositive)
  .option('--job <id>', 'job to poll with --url; repeatable (without it a job is submitted and cancelled)', collect, [])
  .option('--rate <n>', 'requests per second with --url (without it: 2000)', toCount)
  .option('--rounds <n>', 'rounds of each scenario', toCount)
  .option('--seconds <n>', 'seconds of each measurement', toPositive)
  .option('--out <folder>', 'folder for the reports', resolve(import.meta.dirname, 'results'))
  .addOption(new Option('--service-arg <arg>', 'Node argument of the service: --cpu-prof, --import=…; repeatable')
    .argParser(collect).default([]))
  // commander exits with 1 for a wrong command line; the bench uses 2 for that.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))

const fail = (message: string): never => command.error(`error: ${message}`)

/** Returns whether all of them kept their bounds. */
const runVolumes = (names: readonly string[], args: readonly string[] = []): boolean => {
  const statuses = names.map(name => {
    process.stdout.write(`\n# ${name}\n\n`)
    const folder = ofWaiting.includes(name) ? 'volume/waiting' : 'volume'
    const program = resolve(import.meta.dirname, folder, `${name}.ts`)
    return spawnSync(process.execPath, [program, ...args], { stdio: 'inherit' }).status
  })
  return statuses.every(status => status === 0)
}

const select = (from: readonly Scenario[], only: readonly string[] | undefined): readonly Scenario[] => {
  const unknown = only?.filter(name => !from.some(scenario => scenario.name === name)) ?? []
  const names = from.map(({ name }) => name).join(', ')
  if (unknown.length > 0) fail(`unknown scenario: ${unknown.join(', ')}; the scenarios are ${names}`)
  return from.filter(({ name }) => only?.includes(name) ?? true)
}

const toDurations = (durations: Durations, { rounds, seconds }: Options): Durations => ({
  ...durations,
  ...(rounds === undefined ? {} : { rounds }),
  ...(seconds === undefined ? {} : { warmUpSeconds: seconds, capacitySeconds: seconds, latencySeconds: seconds })
})

// Checked before the run, so that no minutes are spent on a result that cannot be compared.
const readBase = async (path: string): Promise<SuiteResult> => {
  const base = await readResult(path)
  const isOtherMachine = JSON.stringify(base.machine) !== JSON.stringify(toMachine())
  if (isOtherMachine) throw new Error(`${path} comes from another machine`)
  return base
}

const runLocal = async (options: Options): Promise<SuiteResult> => {
  const isQuick = options.quick === true
  const selected = select(isQuick ? quickScenarios : scenarios, options.only)
  const durations = toDurations(isQuick ? quickDurations : fullDurations, options)
  ensureBinaries()
  const progress = createProgress({ stream: process.stderr, total: countSteps({ scenarios: selected, durations }) })
  try {
    const mode = isQuick ? 'quick' : 'full'
    return await runSuite({ scenarios: selected, mode, durations, serviceArgs: options.serviceArg, progress })
  } finally {
    progress.stop()
  }
}

const findToken = ({ token = process.env.BENCH_TOKEN }: Options): string | undefined =>
  token?.trim().replace(/^Bearer /i, '')

const runDeployed = async (options: Options, url: string): Promise<SuiteResult> => {
  const token = findToken(options)
  if (token === undefined || token === '') return fail('--url requires a token: set BENCH_TOKEN, or --token')
  if (!isToken(token)) fail('the token has characters that no bearer token has')
  const selected = select(remoteScenarios, options.only)
  const durations = toDurations(options.quick === true ? { ...remoteDurations, rounds: 1 } : remoteDurations, options)
  const progress = createProgress({ stream: process.stderr, total: countSteps({ scenarios: selected, durations }) })
  try {
    const { job: jobIds, rate } = options
    const limits = withBounds(options)
    return await runRemote({ url, token, jobIds, scenarios: selected, rate, limits, durations, progress })
  } finally {
    progress.stop()
  }
}

const main = async (): Promise<void> => {
  command.parse()
  const options = command.opts<Options>()
  const unknown = command.args.filter(name => !volumes.includes(name))
  if (unknown.length > 0) fail(`unknown program: ${unknown.join(', ')}; the programs are ${volumes.join(', ')}`)
  if (command.args.length > 0) {
    if (!runVolumes(command.args)) process.exitCode = 1
    return
  }
  if (options.url === undefined && (options.p95 ?? options.p99) !== undefined) fail('--p95 and --p99 require --url')
  const base = options.compare === undefined ? undefined : await readBase(options.compare)

  const result = options.url === undefined ? await runLocal(options) : await runDeployed(options, options.url)
  const paths = await writeReports(result, options.out)
  process.stdout.write(toMarkdown(result))
  if (base !== undefined) process.stdout.write(`\n${compareResults(base, result)}`)
  process.stdout.write(`\n${paths.join('\n')}\n`)
  process.exitCode = exitCodes[result.outcome]
  if (options.quick !== true || options.url !== undefined || options.only !== undefined) return
  const isKept = runVolumes(quickVolumes, ['--quick']) || runVolumes(quickVolumes, ['--quick'])
  if (!isKept && result.outcome === 'passed') process.exitCode = exitCodes.breach
}

// An exit by process.exit() removes the databases in /dev/shm; the default action of a signal would not.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(2))

try {
  await main()
} catch (error) {
  const token = findToken(command.opts<Options>())
  console.error(redact(`bench: ${error instanceof Error ? error.message : String(error)}`, token))
  if (error instanceof Error && error.cause instanceof Error) console.error(redact(error.cause.message, token))
  process.exitCode = 2
}
