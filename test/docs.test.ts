import { execFile } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { scenarios } from '../bench/scenarios.ts'
import { catalogue } from '../src/errors.ts'
import { createMetrics } from '../src/metrics.ts'
import { startRedis } from './helpers/redis.ts'
import { type Environment, spawnService, startService } from './helpers/service.ts'
import { secret, token } from './helpers/tokens.ts'

const run = promisify(execFile)
const documents = ['README.md', ...globSync('docs/*.md').sort()]
const textOf = (file: string): string => readFileSync(file, 'utf8')

/** The text under a heading of rank 2, up to the next heading of that rank. */
const section = (file: string, heading: string): string => {
  const [, text] = textOf(file).split(`\n## ${heading}\n`)
  if (text === undefined) throw new Error(`${file} has no section "${heading}"`)
  return text.split('\n## ', 1)[0] ?? ''
}

/** What the first group of an expression matches, each time. */
const allIn = (text: string, expression: RegExp): string[] =>
  Array.from(text.matchAll(expression), ([, found = '']) => found)

/** The rows of all tables in a text, cell by cell, without their heads. */
const tableIn = (text: string): string[][] => allIn(text, /^\|.*\n\|[-|]+\|\n((?:\|.*\n?)*)/gm).flatMap(body =>
  body.trimEnd().split('\n').map(line => line.slice(1, -1).split(/\s\|(?=\s)/).map(cell => cell.trim())))

const codeIn = (text: string): string[] => allIn(text, /`([^`]+)`/g)

const withoutCode = (text: string): string => text.replace(/^```.*?^```$/gms, '')

/**
 * A printed text as a pattern: an indented line continues the line above it, a line of one `…` matches any lines, and
 * `…` within a line matches any text of that line.
 */
const toPattern = (text: string): RegExp => new RegExp(`^${text
  .replaceAll('\n  ', '')
  .replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  .replace(/^…\n/gm, '(?:.*\n)*')
  .replaceAll('…', '.*')}$`)

type Block = { script: string, output: string }

/** The shell blocks of a text, each with the output that the text shows for it. */
const blocksIn = (text: string): Block[] => Array.from(
  text.matchAll(/```sh\n(.*?)```\n(?:\n(?:[^`#].*\n\n)?```text\n(.*?)```\n)?/gs),
  ([, script = '', output = '']) => ({ script, output })
)

const mark = '-- end of block --'

/** Executes the blocks in turn in one shell, which stops at the first error, and compares what they print. */
const execute = async (t: Test, blocks: readonly Block[], env: NodeJS.ProcessEnv): Promise<string> => {
  const script = blocks.map(block => `${block.script}\necho '${mark}'\n`).join('')
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], {
    env: { ...process.env, JWT_SECRET: secret, ...env }, timeout: 180_000
  }).catch((error: { stdout: string, stderr: string }) => {
    t.fail('the script stops', { stdout: error.stdout, stderr: error.stderr })
    return error
  })
  const printed = stdout.split(`${mark}\n`)
  for (const [index, { script, output }] of blocks.entries()) {
    t.match(printed[index] ?? '(not reached)', toPattern(output), script.split('\n', 1)[0] ?? '')
  }
  return stdout
}

t.test('the quick start and the walkthrough print what they show, with either cache', async t => {
  const quickStart = blocksIn(section('README.md', 'Quick start'))
  t.equal(quickStart.length, 1, 'the quick start is one block')
  t.equal(quickStart[0]?.script.trimEnd().split('\n').length, 5, 'of five lines')
  const walkthrough = blocksIn(textOf('docs/walkthrough.md'))
  t.ok(walkthrough.length > 3, 'the walkthrough has blocks')
  const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> }
  t.equal(scripts.start, 'exec node --expose-gc src/start.mjs', 'npm start runs the process that these tests start')
  t.match(textOf('src/start.mjs'), /^await import\('\.\/main\.ts'\)$/m)
  const executeAll = async (t: Test, env: Environment): Promise<string> => {
    const { url, databasePath } = await spawnService(t, env)
    const address = 'http://127.0.0.1:3000'
    const here = quickStart.map(({ script, output }) => ({ script: script.replaceAll(address, url), output }))
    t.ok(quickStart.every(({ script }) => script.includes(address)), 'the quick start names the default address')
    await execute(t, here, {})
    return await execute(t, walkthrough, { BASE: url, DB: databasePath })
  }
  t.jobs = 2
  t.test('in memory', async t => {
    t.match(await executeAll(t, {}), '"cache":{"kind":"memory"')
  })
  t.test('in Redis', async t => {
    const { url } = await startRedis(t)
    t.match(await executeAll(t, { REDIS_URL: url }), '"cache":{"kind":"redis"')
  })
})

t.test('the examples of docs/client.md print what they show', async t => {
  const { url } = await spawnService(t, {})
  const dir = join(t.testdirName, 'examples')
  mkdirSync(dir)
  const commandLine = `job-status () { '${process.execPath}' '${resolve('src/cli/main.ts')}' "$@"; }\ncd '${dir}'`
  const blocks = blocksIn(textOf('docs/client.md'))
  t.equal(blocks.length, 2, 'the examples of the command line')
  const env = { JOB_STATUS_URL: url }
  await execute(t, [{ script: commandLine, output: '' }, ...blocks], env)
  const programs = [...textOf('docs/client.md').matchAll(/```js\n(.*?)```\n\n```text\n(.*?)```/gs)]
  t.equal(programs.length, 2, 'those of the client')
  for (const [at, [, program = '', output = '']] of programs.entries()) {
    const path = join(dir, `${at}.mjs`)
    writeFileSync(path, program.replace("'job-status-service/client'", `'${resolve('src/client/client.ts')}'`))
    const scope = 'jobs:read jobs:write jobs:work'
    const { stdout } = await run(process.execPath, [path], {
      env: { ...process.env, ...env, JOB_STATUS_TOKEN: token({ scope, expiresIn: 3_600_000 }) }, timeout: 60_000
    })
    t.equal(stdout, output, path)
  }
})

// The OpenAPI document describes neither itself nor pages.
const undescribed = ['GET /openapi.json', 'GET /docs', 'GET /ui']

t.test('the route table of docs/api.md equals the OpenAPI document, with every status code', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { paths } = await service.askJson('/openapi.json') as
    { paths: Record<string, Record<string, { responses: object, security?: [] }>> }
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { responses, security }]) => ({
      route: `${method.toUpperCase()} ${path}`,
      isPublic: security?.length === 0,
      statuses: Object.keys(responses).sort()
    })))
  const listed = tableIn(section('docs/api.md', 'Routes')).map(([route = '', scope = '', statuses = '']) =>
    ({ route: codeIn(route)[0] ?? '', isPublic: scope === 'none', statuses: statuses.split(' ').sort() }))
  const byRoute = (a: { route: string }, b: { route: string }) => a.route < b.route ? -1 : 1
  t.same(listed.filter(({ route }) => !undescribed.includes(route)).sort(byRoute), described.sort(byRoute))
  for (const route of undescribed) {
    t.ok(listed.some(row => row.route === route), route)
    t.equal((await service.ask(route.slice('GET '.length), { headers: { authorization: '' } })).status, 200, route)
  }
})

t.test('the route table of docs/api.md names the scope that each route requires', async t => {
  const service = await startService(t, { WORKERS: '0' })
  for (const [route = '', scope = ''] of tableIn(section('docs/api.md', 'Routes'))) {
    const [method = '', path = ''] = codeIn(route)[0]?.split(' ') ?? []
    if (scope === 'none') continue
    const body = method === 'POST' ? { body: {} } : {}
    const ask = async (claims: { scope: string }) =>
      await service.ask(path.replace(/\{\w+\}/, 'no-such-job'), { method, claims, ...body })
    const needed = codeIn(scope)[0] ?? ''
    const others = ['jobs:read', 'jobs:write', 'jobs:work', 'jobs:admin'].filter(other => other !== needed).join(' ')
    t.equal((await ask({ scope: others })).status, 403, `${route} without ${needed}`)
    t.not((await ask({ scope: needed })).status, 403, `${route} with ${needed}`)
  }
})

t.test('the route table of the README agrees with that of docs/api.md', t => {
  const inApi = tableIn(section('docs/api.md', 'Routes'))
  const scopes = new Map(inApi.map(([route = '', scope = '']) => [codeIn(route)[0] ?? '', scope]))
  const listed = tableIn(section('README.md', 'API')).flatMap(([routes = '', scope = '']) => {
    const [first = '', ...others] = codeIn(routes)
    const method = first.split(' ')[0] ?? ''
    return [first, ...others.map(path => `${method} ${path}`)].map(route => ({ route, scope }))
  })
  const workers = '/api/v1/worker/…'
  for (const { route, scope } of listed) if (route !== workers) t.equal(scopes.get(route), scope, route)
  t.same(listed.find(({ route }) => route === workers)?.scope, '`jobs:work`')
  const isMissing = (route: string) =>
    !undescribed.includes(route) && !route.includes('/api/v1/worker/') && !listed.some(row => row.route === route)
  t.same([...scopes.keys()].filter(isMissing), [], 'every route is there')
  t.end()
})

t.test('docs/api.md lists every error code with its status', t => {
  const listed = tableIn(section('docs/api.md', 'Errors'))
    .map(([code = '', status = '']) => [codeIn(code)[0], Number(status)])
  t.same(listed.sort(), Object.entries(catalogue).map(([code, { status }]) => [code, status]).sort())
  t.end()
})

t.test('docs/operations.md lists every metric of the service with its labels', async t => {
  const { registry } = createMetrics()
  const own = registry.getMetricsAsArray().filter(({ name }) => !/^(process|nodejs)_/.test(name))
  const inCode = await Promise.all(own.map(async ({ name }) => {
    const { labelNames = [] } = registry.getSingleMetric(name) as { labelNames?: readonly string[] }
    return [name, labelNames.join(' ')]
  }))
  const listed = tableIn(section('docs/operations.md', 'Health, metrics, logs'))
    .filter(([metric = '']) => !metric.startsWith('`/'))
    .map(([metric = '', labels = '']) => [codeIn(metric)[0], codeIn(labels).join(' ')])
  t.ok(inCode.length > 10, 'the registry has metrics')
  t.same(listed.sort(), inCode.sort())
})

t.test('docs/configuration.md lists every variable of the service with its default', t => {
  const source = textOf('src/config/config.ts')
  const body = /^const Environment = Type\.Object\(\{\n(.*?)^\}\)/ms.exec(source)?.[1] ?? ''
  const toDefault = (definition: string): string => {
    const text = /default: (?:'([^']*)'|(true|false)|([\d* ]+))/.exec(definition)
    if (text === null) return 'unset'
    const product = (text[3] ?? '').split('*').reduce((product, factor) => product * Number(factor), 1)
    return text[1] ?? text[2] ?? String(product)
  }
  const inCode = body.split(/^ {2}(?=[A-Z])/m).slice(1)
    .map(definition => [definition.split(':', 1)[0] ?? '', toDefault(definition)])
  const toRow = ([name = '', value = '']: string[]) => [codeIn(name)[0] ?? '', value.replaceAll('`', '')]
  t.ok(inCode.length > 10, 'the schema was read')
  t.same(tableIn(section('docs/configuration.md', 'Variables of the service')).map(toRow).sort(), inCode.sort())
  const inReadme = tableIn(section('README.md', 'Configuration')).map(toRow)
  t.ok(inReadme.length >= 10, 'the README has a table')
  for (const row of inReadme) t.ok(inCode.some(([name, value]) => name === row[0] && value === row[1]), row.join(' '))
  t.end()
})

t.test('docs/configuration.md lists every variable that tests, benches and scripts read', t => {
  const listed = tableIn(textOf('docs/configuration.md')).flatMap(([names = '']) => codeIn(names))
  // Those of the system and of CI, and those that bootstrap.test.ts sets for the npm that it fakes.
  const others = ['PATH', 'HOME', 'CI', 'NODE_V8_COVERAGE', 'NODE_COMPILE_CACHE', 'NPM_CALLS', 'NPM_FAILS']
  const exclude = ['**/node_modules/**']
  const files = globSync(['{src,scripts,bench}/**/*.{ts,mjs}', 'test/**/*.test.ts'], { exclude })
  const read = new Set(files.map(textOf).flatMap(source => [
    ...allIn(source, /\benv\.([A-Z][A-Z0-9_]+)/g),
    ...allIn(source, /^const \{(.*)\} = process\.env$/gm).flatMap(names => allIn(names, /\b([A-Z][A-Z0-9_]+):/g))
  ]))
  t.ok(read.size > 20, 'the sources were read')
  t.same([...read].filter(name => !listed.includes(name) && !others.includes(name)), [])
  t.end()
})

t.test('every test named in docs/guarantees.md exists', t => {
  const rows = tableIn(textOf('docs/guarantees.md'))
  t.ok(rows.length > 10, 'the tables were read')
  for (const [guarantee = '', tests = ''] of rows) {
    const named = Array.from(tests.matchAll(/\[([^\]]+)\]\(\.\.\/(test\/[^)]+)\): ([^<]+?)\s*(?:<br>|$)/g))
    t.equal(named.length, tests.split('<br>').length, `${guarantee}: every test is a link and a title`)
    for (const [, label = '', path = '', name = ''] of named) {
      t.ok(path.endsWith(`/${label}`), `${label} is the name of ${path}`)
      // In a title `…` stands for what the source fills in.
      const title = name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replaceAll('…', '\\$\\{[^}]+\\}')
      const source = existsSync(path) ? textOf(path) : ''
      t.ok(new RegExp(`\\btest\\((['"\`])${title}\\1`).test(source), `${path} has a test "${name}"`)
    }
  }
  t.end()
})

/** The anchors that a rendered document has: one for each heading, as GitHub makes them. */
const anchorsOf = (file: string): string[] =>
  allIn(withoutCode(textOf(file)), /^#+ (.+)$/gm).map(heading =>
    heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'))

t.test('every relative link of README and docs leads to a file, and to a heading of it', t => {
  t.ok(documents.length > 10, 'the documents were found')
  let count = 0
  for (const document of documents) {
    const targets = allIn(withoutCode(textOf(document)), /\]\(([^)\s]+)\)/g)
    for (const target of targets.filter(target => !/^https?:/.test(target))) {
      count++
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? document : join(dirname(document), path)
      t.ok(existsSync(file), `${document}: ${target}`)
      if (anchor !== undefined && existsSync(file)) t.ok(anchorsOf(file).includes(anchor), `${document}: ${target}`)
    }
  }
  t.ok(count > 50, 'the links were read')
  const linked = allIn(textOf('README.md'), /\]\((docs\/[\w-]+\.md)/g)
  t.same(documents.slice(1).filter(file => !linked.includes(file)), [], 'the README leads to every document')
  t.end()
})

t.test('every file and folder of the repository that README and docs mention exists', t => {
  const written = new Set(documents.flatMap(file => allIn(textOf(file), /`((?:src|test|bench|scripts)\/[^`\s]*)`/g)))
  t.ok(written.size > 30, 'the documents mention files')
  // The bench makes this folder when it runs.
  t.same([...written].filter(path => path !== 'bench/results/' && !existsSync(path)), [])
  t.end()
})

t.test('docs/coherence.md measures each step of a poll by a scenario that exists', t => {
  const steps = tableIn(section('docs/coherence.md', 'The path of a poll'))
  const volumes = globSync('bench/volume/*.ts').map(path => basename(path, '.ts'))
  const names = [...scenarios.map(({ name }) => name), ...volumes]
  t.ok(steps.length > 10, 'the table was read')
  for (const [step = '', , , measuredBy = ''] of steps) {
    const named = codeIn(measuredBy)
    t.ok(named.length > 0, `step ${step} is measured`)
    t.same(named.filter(name => !names.includes(name)), [], `step ${step}: ${measuredBy}`)
  }
  t.end()
})

t.test('docs/contributing.md describes every folder of src', t => {
  const listed = tableIn(section('docs/contributing.md', 'Folders')).flatMap(([names = '']) => codeIn(names))
  const entries = readdirSync('src', { withFileTypes: true })
  const folders = entries.filter(entry => entry.isDirectory()).map(({ name }) => `src/${name}`)
  t.same(folders.filter(folder => !listed.includes(folder)), [])
  t.end()
})

t.test('README and docs stay readable: their length, and that of their lines', t => {
  const readme = textOf('README.md').trimEnd().split('\n')
  t.ok(readme.length <= 200, `the README has ${readme.length} lines`)
  t.same(readme.filter(line => line.length > 400), [], 'no line of the README has over 400 characters')
  for (const file of documents) {
    const long = textOf(file).split('\n').filter(line => line.length >= 120 && !line.startsWith('|'))
    t.same(long, [], `${file}: outside tables, lines have fewer than 120 characters`)
  }
  t.end()
})
