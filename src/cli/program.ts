import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import type { Change, Client, Task } from '../client/client.ts'
import { bench, type BenchOptions } from './bench.ts'
import { connect, type ConnectionOptions, localClaims, mintToken, parseNumber, patienceDefault, readLocalSecret } from './connection.ts'
import { codeOfEnd, Exit, exitCodes } from './exit.ts'
import { readInput } from './input.ts'
import { type OutputOptions, print, toLine, toText } from './output.ts'
import { download, printResult } from './result.ts'
import { waitForEnd, type WaitOptions } from './wait.ts'

type Common = ConnectionOptions & OutputOptions

type SubmitOptions = Common & {
  input: string, idempotencyKey?: string, maxAttempts?: string, runSeconds?: string, retention?: string, callbackUrl?: string
}

const withConnection = (command: Command): Command => command
  .option('--url <url>', 'the service; default: JOB_STATUS_URL, or http://127.0.0.1:3000')
  .option('--token <token>', 'the bearer token; default: JOB_STATUS_TOKEN')
  .option('--patience <seconds>', 'how long to try while the service does not answer', patienceDefault)
  .option('--json', 'print JSON')

const withSubmission = (command: Command): Command => withConnection(command)
  .argument('<type>', 'the type of the job')
  .option('-i, --input <json>', 'the input: JSON, @file or @- for standard input', '{}')
  .option('--idempotency-key <key>', 'submissions with the same key are one job')
  .option('--max-attempts <count>', 'how often the job may be tried')
  .option('--run-seconds <seconds>', 'time limit of one run')
  .option('--retention <seconds>', 'how long its result is kept')
  .option('--callback-url <url>', 'called when the job has ended')

const withWait = (command: Command): Command =>
  command.option('--timeout <seconds>', 'give up after this time, with exit code 124')

const submit = async (client: Client, type: string, options: SubmitOptions): Promise<string> => {
  const { input, idempotencyKey, maxAttempts, runSeconds, retention, callbackUrl } = options
  const { jobId } = await client.submit(type, readInput(input), {
    ...idempotencyKey === undefined ? {} : { idempotencyKey },
    ...maxAttempts === undefined ? {} : { maxAttempts: parseNumber('--max-attempts', maxAttempts, 1) },
    ...runSeconds === undefined ? {} : { timeoutSeconds: parseNumber('--run-seconds', runSeconds, 1) },
    ...retention === undefined ? {} : { retentionSeconds: parseNumber('--retention', retention, 1) },
    ...callbackUrl === undefined ? {} : { callbackUrl }
  })
  return jobId
}

const showTask = (options: OutputOptions, task: Task): void => { print(options, task, () => toText(task)) }

const endWith = (task: Task): void => {
  const code = codeOfEnd(task)
  if (code !== exitCodes.succeeded) throw new Exit(code)
}

const addSubmissions = (program: Command): void => {
  withSubmission(program.command('submit')).description('Submit a job, and print its id.')
    .action(async (type: string, options: SubmitOptions) => {
      const jobId = await submit(connect(options).client, type, options)
      print(options, { jobId }, () => jobId)
    })
  withWait(withSubmission(program.command('run'))).description('Submit a job; with --wait also wait for it, and fetch its result.')
    .option('--wait', 'wait for the end; the exit code says how it ended')
    .option('-o, --output <file>', 'write the result into a file; implies --wait')
    .action(async (type: string, options: SubmitOptions & WaitOptions & { wait?: boolean, output?: string }) => {
      const { client } = connect(options)
      const jobId = await submit(client, type, options)
      const { output } = options
      if (options.wait !== true && output === undefined) return print(options, { jobId }, () => jobId)
      const task = await waitForEnd(client, jobId, options)
      showTask(options, task)
      endWith(task)
      if (output !== undefined) await download(client, jobId, output)
    })
}

const toShown = (change: Change): string => change.kind === 'job'
  ? toLine(change.task)
  : change.kind === 'gone' ? `${'gone'.padEnd(9)}  ${change.jobId}` : ''

const watchAll = async (client: Client, options: OutputOptions & { type?: string, since?: string }): Promise<void> => {
  const { type, since = 'now' } = options
  for await (const change of client.changes({ since, ...type === undefined ? {} : { type } })) {
    const line = toShown(change)
    if (options.json === true || line !== '') print(options, change, () => line)
  }
}

const watchJob = async (client: Client, jobId: string, options: OutputOptions): Promise<void> => {
  for await (const event of client.events(jobId)) {
    print(options, event, () => event.kind === 'status' ? toLine(event.task) : `${'gone'.padEnd(9)}  ${jobId}`)
    if (event.kind === 'gone') throw new Exit(exitCodes.gone)
    if (event.task.isTerminal) endWith(event.task)
  }
}

const addReads = (program: Command): void => {
  const ofJob = (name: string): Command => withConnection(program.command(name)).argument('<jobId>')
  ofJob('status').description('Print the state of a job.').action(async (jobId: string, options: Common) => {
    showTask(options, await connect(options).client.status(jobId))
  })
  withWait(ofJob('wait')).description('Wait for the end of a job; the exit code says how it ended.')
    .action(async (jobId: string, options: Common & WaitOptions) => {
      const task = await waitForEnd(connect(options).client, jobId, options)
      showTask(options, task)
      endWith(task)
    })
  ofJob('result').description('Write the result of a job to standard output, or into a file.')
    .option('-o, --output <file>', 'write into this file; an interrupted download goes on where it stopped')
    .action(async (jobId: string, { output, ...options }: Common & { output?: string }) => {
      const { client } = connect(options)
      if (output === undefined) return await printResult(client, jobId)
      const sizeBytes = await download(client, jobId, output)
      print(options, { output, sizeBytes }, () => `${output}: ${sizeBytes} bytes`)
    })
  ofJob('cancel').description('Cancel a job.').action(async (jobId: string, options: Common) => {
    showTask(options, await connect(options).client.cancel(jobId))
  })
  withConnection(program.command('list')).description('List jobs, newest first; with --json one object a line.')
    .option('--status <states>', 'of these states, separated by commas: queued, running, succeeded, failed, cancelled')
    .option('--type <type>', 'of this type')
    .option('--limit <count>', 'at most so many', '50')
    .action(async ({ status, type, limit, ...options }: Common & { status?: string, type?: string, limit: string }) => {
      let left = parseNumber('--limit', limit, 1)
      const filter = { ...status === undefined ? {} : { status }, ...type === undefined ? {} : { type } }
      for await (const task of connect(options).client.list(filter)) {
        print(options, task, () => toLine(task))
        if (--left <= 0) return
      }
    })
  withConnection(program.command('watch')).description('Print the changes of one job until it ends, or those of all jobs.')
    .argument('[jobId]')
    .option('--type <type>', 'only jobs of this type')
    .option('--since <cursor>', 'changes after this place; default: from now on')
    .action(async (jobId: string | undefined, options: Common & { type?: string, since?: string }) => {
      const { client } = connect(options)
      await (jobId === undefined ? watchAll(client, options) : watchJob(client, jobId, options))
    })
}

type TokenOptions = { sub: string, scope?: string, tenant?: string, expires: string }

const addLocal = (program: Command): void => {
  program.command('serve').description('Run the service; its configuration is in the environment.')
    .option('--host <address>', 'the address to listen on; default: HOST')
    .option('--port <port>', 'the port; default: PORT')
    .action(async ({ host, port }: { host?: string, port?: string }) => {
      if (host !== undefined) process.env.HOST = host
      if (port !== undefined) process.env.PORT = port
      await import('../main.ts')
    })
  program.command('token').description('Print a token for a service that was started in this folder.')
    .requiredOption('--sub <subject>', 'its subject')
    .option('--scope <scopes>', 'its scopes, separated by blanks; default: jobs:read jobs:write')
    .option('--tenant <tenant>', 'the owner of its jobs; default: the subject')
    .option('--expires <seconds>', 'how long it is valid', '3600')
    .action(({ sub, scope, tenant, expires }: TokenOptions) => {
      const secret = readLocalSecret()
      if (secret === undefined) throw new Exit(exitCodes.token, 'job-status: no key: neither JWT_SECRET nor data/jwt-secret')
      const claims = { sub, scope, tenant, ...localClaims() }
      process.stdout.write(`${mintToken(secret, claims, parseNumber('--expires', expires, 1))}\n`)
    })
}

const addBench = (program: Command): void => {
  withConnection(program.command('bench')).description('Measure the latency of polls; needs the package autocannon.')
    .option('--p95 <ms>', 'fail if the 95th percentile is above')
    .option('--rate <count>', 'polls a second', '200')
    .option('--duration <seconds>', 'how long', '10')
    .option('--connections <count>', 'at once', '10')
    .action(async (options: Common & BenchOptions) => {
      const { client, url, token } = connect(options)
      const { value } = await client.list({}).next()
      const jobId = value === undefined ? await submit(client, 'report', { ...options, input: '{}' }) : value.taskId
      await bench(`${url}/api/v1/jobs/${jobId}`, typeof token === 'string' ? token : token(), options)
    })
}

const readVersion = (): string => {
  // The same from src/cli and from the dist/cli of the package.
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  return version
}

/** The whole command line. What it throws, main.ts turns into a line and an exit code. */
export const createProgram = (): Command => {
  const program = new Command('job-status')
    .description('The command line of the job status service.')
    .version(readVersion())
    .exitOverride()
    .showSuggestionAfterError()
  addSubmissions(program)
  addReads(program)
  addLocal(program)
  addBench(program)
  return program
}
