import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { startRedis } from './helpers/redis.ts'
import { type Environment, spawnService, startService } from './helpers/service.ts'
import { secret } from './helpers/tokens.ts'

const run = promisify(execFile)
const readme = readFileSync('README.md', 'utf8')

/** What stands under a heading, up to the next one of its rank. */
const section = (heading: string): string => {
  const [, text] = readme.split(`\n## ${heading}\n`)
  if (text === undefined) throw new Error(`README.md has no section "${heading}"`)
  return text.split('\n## ', 1)[0] ?? ''
}

/** The body of the first table in a text, cell by cell. */
const tableIn = (text: string): string[][] => {
  const lines = text.slice(text.indexOf('\n|') + 1).split('\n')
  const end = lines.findIndex(line => !line.startsWith('|'))
  return lines.slice(2, end).map(line => line.slice(1, -1).split(' | ').map(cell => cell.trim()))
}

const codeIn = (text: string): string[] => Array.from(text.matchAll(/`([^`]+)`/g), ([, code = '']) => code)

/** A printed text as a pattern: a line of one `…` stands for any lines, and `…` within a line for anything in it. */
const toPattern = (text: string): RegExp => new RegExp(`^${text
  .replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  .replace(/^…\n/gm, '(?:.*\n)*')
  .replaceAll('…', '.*')}$`)

/** The shell blocks of the walk, each with what it prints. */
const walkBlocks = Array.from(
  section('A walk').matchAll(/```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?/gs),
  ([, script = '', output = '']) => ({ script, output })
)

const mark = '-- end of block --'

/** Walks through a running service as a reader would: every block in turn, in one shell that stops at the first error. */
const walk = async (t: Test, env: Environment): Promise<string> => {
  const { url, databasePath } = await spawnService(t, env)
  const script = walkBlocks.map(block => `${block.script}\necho '${mark}'\n`).join('')
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], {
    env: { ...process.env, BASE: url, DB: databasePath, JWT_SECRET: secret }, timeout: 45_000
  }).catch((error: { stdout: string, stderr: string }) => {
    t.fail('the walk stops', { stdout: error.stdout, stderr: error.stderr })
    return error
  })
  const printed = stdout.split(`${mark}\n`)
  for (const [index, { script, output }] of walkBlocks.entries()) {
    t.match(printed[index] ?? '(not reached)', toPattern(output), script.split('\n', 1)[0] ?? '')
  }
  return stdout
}

t.test('the walk goes as it is written, with either cache', async t => {
  t.ok(walkBlocks.length > 3, 'there are blocks to run')
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
  t.equal(scripts.start, 'exec node src/main.ts', 'npm start runs what is walked through')
  t.jobs = 2
  t.test('in memory', async t => {
    t.match(await walk(t, {}), '"cache":{"kind":"memory"')
  })
  t.test('in Redis', async t => {
    const { url } = await startRedis(t)
    t.match(await walk(t, { REDIS_URL: url }), '"cache":{"kind":"redis"')
  })
})

t.test('the table of routes is that of the OpenAPI document, with every status', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { paths } = await service.askJson('/openapi.json') as { paths: Record<string, Record<string, { responses: object, security?: [] }>> }
  const documented = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, { responses, security }]) =>
    ({ route: `${method.toUpperCase()} ${path}`, isPublic: security?.length === 0, statuses: Object.keys(responses).sort() })))
  const listed = tableIn(section('API')).map(([route = '', scope = '', statuses = '']) =>
    ({ route: codeIn(route)[0] ?? '', isPublic: scope === 'none', statuses: statuses.split(' ').sort() }))
  // The document does not describe itself, nor the page that shows it.
  const undocumented = ['GET /openapi.json', 'GET /docs']
  const byRoute = (a: { route: string }, b: { route: string }) => a.route < b.route ? -1 : 1
  t.same(listed.filter(({ route }) => !undocumented.includes(route)).sort(byRoute), documented.sort(byRoute))
  for (const route of undocumented) {
    t.ok(listed.some(row => row.route === route), route)
    t.equal((await service.ask(route.slice('GET '.length), { headers: { authorization: '' } })).status, 200, route)
  }
})

t.test('the scope in the table is the one that a route asks for', async t => {
  const service = await startService(t, { WORKERS: '0' })
  for (const [route = '', scope = ''] of tableIn(section('API'))) {
    const [method = '', path = ''] = codeIn(route)[0]?.split(' ') ?? []
    if (scope === 'none') continue
    const ask = async (claims: { scope: string }) =>
      await service.ask(path.replace(/\{\w+\}/, 'no-such-job'), { method, claims, ...(method === 'POST' ? { body: {} } : {}) })
    const needed = codeIn(scope)[0] ?? ''
    const others = ['jobs:read', 'jobs:write', 'jobs:work', 'jobs:admin'].filter(other => other !== needed).join(' ')
    t.equal((await ask({ scope: others })).status, 403, `${route} without ${needed}`)
    t.not((await ask({ scope: needed })).status, 403, `${route} with ${needed}`)
  }
})

t.test('the configuration table is that of the code, with every default', t => {
  const source = readFileSync('src/config.ts', 'utf8')
  const body = /^const Environment = Type\.Object\(\{\n(.*?)^\}\)/ms.exec(source)?.[1] ?? ''
  const toDefault = (definition: string): string => {
    const text = /default: (?:'([^']*)'|(true|false)|([\d* ]+))/.exec(definition)
    if (text === null) return 'unset'
    return text[1] ?? text[2] ?? String((text[3] ?? '').split('*').reduce((product, factor) => product * Number(factor), 1))
  }
  const inCode = body.split(/^ {2}(?=[A-Z])/m).slice(1).map(definition => [definition.split(':', 1)[0], toDefault(definition)])
  const listed = tableIn(section('Configuration')).map(([name = '', value = '']) => [codeIn(name)[0], value.replaceAll('`', '')])
  t.ok(inCode.length > 10, 'the schema was read')
  t.same(listed.sort(), inCode.sort())
  t.end()
})

t.test('every test named in the table of guarantees exists', t => {
  const rows = tableIn(section('Guarantees'))
  t.ok(rows.length > 10, 'the table was read')
  for (const [guarantee = '', tests = ''] of rows) {
    const named = Array.from(tests.matchAll(/\[([^\]]+)\]\((test\/[^)]+)\): ([^<]+?)\s*(?:<br>|$)/g))
    t.equal(named.length, tests.split('<br>').length, `${guarantee}: every test is a link and a name`)
    for (const [, label = '', path = '', name = ''] of named) {
      t.ok(path.endsWith(`/${label}`), `${label} is the name of ${path}`)
      // In a name `…` stands for what the source fills in.
      const title = name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replaceAll('…', '\\$\\{[^}]+\\}')
      const source = existsSync(path) ? readFileSync(path, 'utf8') : ''
      t.match(source, new RegExp(`\\btest\\((['"\`])${title}\\1`), `${path}: ${name}`)
    }
  }
  t.end()
})

t.test('every link leads somewhere', t => {
  const headings = Array.from(readme.matchAll(/^#+ (.+)$/gm), ([, heading = '']) => `#${heading.toLowerCase().replaceAll(' ', '-')}`)
  const targets = Array.from(readme.matchAll(/\]\(([^)]+)\)/g), ([, target = '']) => target)
  t.ok(targets.length > 10, 'the links were read')
  for (const target of targets.filter(target => !/^https?:/.test(target))) {
    t.ok(target.startsWith('#') ? headings.includes(target) : existsSync(target), target)
  }
  t.end()
})
