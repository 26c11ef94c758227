import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import type { Json } from '../../helpers/client.ts'
import { freePort } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { n8nCommand, n8nPackage, nodeOfN8n } from './install.ts'

/*
 * An n8n process of its own on a new database, driven as its editor drives it.
 */

const owner = { email: 'owner@example.com', firstName: 'Ow', lastName: 'Ner', password: 'Long-enough-1' }

const environment = (folder: string, port: number): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: folder,
  N8N_USER_FOLDER: folder,
  N8N_PORT: String(port),
  N8N_SECURE_COOKIE: 'false',
  N8N_LOG_LEVEL: 'warn',
  N8N_DIAGNOSTICS_ENABLED: 'false',
  N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
  N8N_TEMPLATES_ENABLED: 'false',
  N8N_PERSONALIZATION_ENABLED: 'false',
  N8N_HIRING_BANNER_ENABLED: 'false',
  N8N_DYNAMIC_BANNERS_ENABLED: 'false',
  N8N_COMMUNITY_PACKAGES_ENABLED: 'false',
  // They call home too.
  N8N_DISABLED_MODULES: 'mcp-registry,community-packages,instance-ai,quick-connect,instance-reporting'
})

/** How an execution ended. */
export type Execution = {
  status: string
  /** The nodes that ran, in their order. */
  path: string[]
  last: string
  item: Json
  error: Json
}

const toExecution = ({ status, data }: Json): Execution => {
  const { parse } = createRequire(n8nPackage)('flatted') as { parse: (text: string) => Json }
  const { runData, lastNodeExecuted, error } = parse(data).resultData
  const runs = Object.entries(runData as Record<string, Json[]>)
    .flatMap(([node, runs]) => runs.map(run => ({ node, run })))
    // n8n counts from 0 again when an execution resumes.
    .sort((a, b) => a.run.startTime - b.run.startTime || a.run.executionIndex - b.run.executionIndex)
  const outputs: Json[] = runs.at(-1)?.run.data?.main ?? []
  return {
    status, path: runs.map(({ node }) => node), last: lastNodeExecuted, item: outputs.flat().find(Boolean), error
  }
}

/** Starts n8n, and makes its owner. */
export const startN8n = async (folder: string) => {
  const port = await freePort()
  const env = environment(folder, port)
  const child = spawn(nodeOfN8n, [n8nCommand, 'start'], { env, cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] })
  // The name that n8n gives itself in resume URLs.
  const url = `http://localhost:${port}`
  let cookie = ''
  const ask = async (path: string, body?: unknown): Promise<Response> => await fetch(url + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { cookie, ...body === undefined ? {} : { 'content-type': 'application/json' } },
    ...body === undefined ? {} : { body: JSON.stringify(body) }
  })
  const askJson = async (path: string, body?: unknown): Promise<Json> => {
    const answer = await ask(path, body)
    if (!answer.ok) throw new Error(`n8n: ${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json() as { data: Json }).data
  }
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`n8n ended with ${child.exitCode}`)
    return await ask('/healthz/readiness').then(({ status }) => status === 200, () => false)
  }, 'n8n', 300_000)
  const answer = await ask('/rest/owner/setup', owner)
  if (!answer.ok) throw new Error(`the owner of n8n: ${answer.status} ${await answer.text()}`)
  cookie = answer.headers.getSetCookie().map(line => line.split(';', 1)[0]).join('; ')
  const execution = async (id: string): Promise<Json> => await askJson(`/rest/executions/${id}`)
  return {
    port,
    url,
    owner,
    /** Makes a credential, as its user does before the import. */
    addCredential: async (name: string, type: string, data: object) => {
      await askJson('/rest/credentials', { name, type, data })
    },
    /** Runs `n8n import:workflow` on a folder, and returns the ids of all workflows by name. */
    importWorkflows: async (from: string): Promise<Map<string, string>> => {
      const { status, stdout, stderr } = spawnSync(nodeOfN8n, [
        n8nCommand, 'import:workflow', '--separate', `--input=${from}`
      ], { env: { ...env, N8N_LOG_LEVEL: 'info' }, cwd: folder, encoding: 'utf8' })
      if (status !== 0 || !/Successfully imported/.test(stdout)) throw new Error(`the import: ${stdout}${stderr}`)
      const workflows: Json[] = await askJson('/rest/workflows')
      return new Map(workflows.map(({ id, name }) => [name, id]))
    },
    /** Starts a workflow as the button of the editor does, and returns the id of the execution. */
    run: async (workflowId: string): Promise<string> =>
      (await askJson(`/rest/workflows/${workflowId}/run`, { triggerToStartFrom: { name: 'Start' } })).executionId,
    status: async (id: string): Promise<string> => (await execution(id)).status,
    ended: async (id: string, limitMs: number): Promise<Execution> => toExecution(await until(async () => {
      const found = await execution(id)
      return ['new', 'running', 'waiting'].includes(found.status) ? undefined : found
    }, `the end of execution ${id}`, limitMs)),
    file: async (id: string): Promise<string> =>
      await (await ask(`/rest/binary-data?action=download&id=${encodeURIComponent(id)}`)).text(),
    stop: async () => {
      if (child.exitCode !== null) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
  }
}

export type N8n = Awaited<ReturnType<typeof startN8n>>
