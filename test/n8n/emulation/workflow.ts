import { readFileSync } from 'node:fs'
import type { Json } from '../../helpers/client.ts'

/*
 * A workflow of n8n, as its editor exports it.
 */

export type Node = {
  name: string
  type: string
  parameters: Json
  credentials?: Record<string, { name: string }>
  retryOnFail?: boolean
  maxTries?: number
  waitBetweenTries?: number
  onError?: string
}

export type Workflow = {
  name: string
  nodes: Node[]
  connections: Record<string, { main: Array<Array<{ node: string }>> }>
}

/** A file that travels with an item. */
export type Binary = { data: Buffer, mimeType: string }

/** What nodes hand to each other. */
export type Item = { json: Json, binary?: Record<string, Binary> }

/** Reads a file of examples/n8n. */
export const readWorkflow = (file: string): Workflow => JSON.parse(readFileSync(`examples/n8n/${file}`, 'utf8')) as Workflow

/** The workflow after its user has changed fields of the node Settings. */
export const withSettings = (workflow: Workflow, fields: Record<string, string>): Workflow => {
  const changed = structuredClone(workflow)
  const settings = changed.nodes.find(({ name }) => name === 'Settings')
  for (const [name, value] of Object.entries(fields)) {
    const field = settings?.parameters.assignments.assignments.find((field: Json) => field.name === name)
    if (field === undefined) throw new Error(`Settings has no field ${name}`)
    field.value = value
  }
  return changed
}
