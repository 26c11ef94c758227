import { DateTime } from 'luxon'
import type { Test } from 'tap'
import type { Json } from '../../helpers/client.ts'
import { resolveParameter, type Scope } from './expressions.ts'
import { requestOnce } from './http-request.ts'
import { type ResumeServer, startResumeServer } from './resume-server.ts'
import { chooseOutput, editFields } from './rules.ts'
import type { Item, Node, Workflow } from './workflow.ts'

/*
 * Executes a workflow of one item as n8n does: it follows the connections, with a clock that the Wait nodes move.
 */

const unitMs: Record<string, number> = { seconds: 1000, minutes: 60_000, hours: 3_600_000, days: 86_400_000 }

/** What the test does while the workflow runs. */
export type Hooks = {
  /** The token of the credential. */
  token: () => string
  /** Called before each run of a node; `run` counts from 0. */
  before?: (node: string, run: number) => Promise<void> | void
  /** Called while a Wait node waits so long; one with a resume URL gives up waiting when this resolves to `elapsed`. */
  onWait?: (node: string, waitMs: number) => Promise<'elapsed' | void>
}

/** How the execution ended: the last node, its item, and the names of all nodes that ran. */
export type Ended = { last: string, item: Item, path: string[], answers: number[] }

type Execution = {
  id: number
  workflow: Workflow
  hooks: Hooks
  clock: { ms: number }
  results: Map<string, Item[][]>
  resume: ResumeServer
}

let executions = 0

const scopeOf = ({ id, clock, results, resume }: Execution, { json, binary }: Item): Scope => ({
  $json: json,
  $binary: binary,
  $now: DateTime.fromMillis(clock.ms),
  $execution: { id: String(id), resumeUrl: resume.resumeUrl },
  $: (name: string) => ({ first: () => results.get(name)?.at(-1)?.[0] })
})

const requestWithRetries = async ({ hooks, clock }: Execution, node: Node, parameters: Json): Promise<Item> => {
  const tries = node.retryOnFail === true ? Math.min(node.maxTries ?? 3, 5) : 1
  for (let left = tries - 1; ; left--) {
    try {
      const item = await requestOnce(node, parameters, hooks.token())
      // n8n takes a field of this name for a failure, and sends again.
      if (!item.json.error || left === 0) return item
    } catch (error) {
      if (left > 0) clock.ms += Math.min(node.waitBetweenTries ?? 1000, 5000)
      else if (node.onError === 'continueErrorOutput') return { json: { error: (error as Error).message } }
      else throw error
    }
  }
}

const wait = async ({ hooks, clock, resume }: Execution, node: Node, parameters: Json, item: Item): Promise<Item> => {
  const { amount, unit, resumeAmount, resumeUnit, limitWaitTime, httpMethod } = parameters
  if (parameters.resume !== 'webhook') {
    const waitMs = amount * (unitMs[unit] ?? NaN)
    await hooks.onWait?.(node.name, waitMs)
    clock.ms += waitMs
    return item
  }
  if (httpMethod !== 'POST' || limitWaitTime !== true) throw new Error(`${node.name} must take a POST, and have a limit`)
  const given = new AbortController()
  const call = resume.awaitCall(given.signal)
  const waitMs = resumeAmount * (unitMs[resumeUnit] ?? NaN)
  if (await hooks.onWait?.(node.name, waitMs) === 'elapsed') {
    clock.ms += waitMs
    given.abort()
  }
  const received = await call
  return received === undefined ? item : { json: received }
}

/** Runs a node; the item leaves it at the output that is returned with it. */
const runNode = async (execution: Execution, node: Node, item: Item): Promise<{ output: number, item: Item }> => {
  const parameters = resolveParameter(node.parameters, scopeOf(execution, item))
  switch (node.type) {
    case 'n8n-nodes-base.manualTrigger': return { output: 0, item }
    case 'n8n-nodes-base.set': return { output: 0, item: editFields(parameters, item) }
    case 'n8n-nodes-base.switch': return { output: chooseOutput(parameters), item }
    case 'n8n-nodes-base.wait': return { output: 0, item: await wait(execution, node, parameters, item) }
    case 'n8n-nodes-base.httpRequest': {
      const answer = await requestWithRetries(execution, node, parameters)
      return { output: answer.json.error ? 1 : 0, item: answer }
    }
    default: throw new Error(`the emulation does not know the node type ${node.type}`)
  }
}

/** Executes a workflow until no node follows. */
export const execute = async (t: Test, workflow: Workflow, hooks: Hooks): Promise<Ended> => {
  const resume = await startResumeServer(t)
  const execution: Execution = {
    id: ++executions, workflow, hooks, clock: { ms: Date.UTC(2026, 2, 1) }, results: new Map(), resume
  }
  const path: string[] = []
  let next = workflow.nodes.find(({ type }) => type === 'n8n-nodes-base.manualTrigger')
  let item: Item = { json: {} }
  while (next !== undefined) {
    const node: Node = next
    if (path.length > 60) throw new Error(`the workflow does not end: ${path.join(', ')}`)
    const runs = execution.results.get(node.name) ?? []
    await hooks.before?.(node.name, runs.length)
    path.push(node.name)
    const result = await runNode(execution, node, item)
    item = result.item
    execution.results.set(node.name, [...runs, result.output === 0 ? [item] : []])
    const following = workflow.connections[node.name]?.main[result.output] ?? []
    if (following.length > 1) throw new Error(`${node.name}: the emulation follows one connection`)
    next = following[0] && workflow.nodes.find(({ name }) => name === following[0]?.node)
  }
  return { last: path.at(-1) ?? '', item, path, answers: resume.answers }
}
