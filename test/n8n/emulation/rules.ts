import type { Json } from '../../helpers/client.ts'
import type { Item } from './workflow.ts'

/*
 * The rules of the Switch node, with the types converted where they differ ("loose").
 */

const holds = ({ leftValue, rightValue, operator }: Json): boolean => {
  switch (`${operator.type}:${operator.operation}`) {
    case 'string:equals': return leftValue !== undefined && String(leftValue) === String(rightValue)
    case 'number:equals': return Number(leftValue) === Number(rightValue)
    case 'boolean:true': return leftValue === true
    default: throw new Error(`the emulation does not know the operator ${operator.type}:${operator.operation}`)
  }
}

/** The output of a Switch: that of the first rule that holds, else the last one. */
export const chooseOutput = ({ rules, options }: Json): number => {
  if (options.fallbackOutput !== 'extra') throw new Error('the emulation knows only an extra fallback output')
  const index = rules.values.findIndex(({ conditions: { combinator, conditions } }: Json) => {
    if (combinator !== 'and') throw new Error('the emulation knows only rules of which all conditions hold')
    return conditions.every(holds)
  })
  return index === -1 ? rules.values.length : index
}

const toType = (value: Json, type: string): Json => {
  if (type === 'object' && typeof value === 'string') return JSON.parse(value)
  if (type === 'number') return Number(value)
  return type === 'string' ? String(value) : value
}

/** The item that an Edit Fields node makes. Without the other fields of its input it has no file either. */
export const editFields = ({ assignments, includeOtherFields, options }: Json, { json, binary }: Item): Item => {
  const fields = Object.fromEntries(
    assignments.assignments.map(({ name, value, type }: Json) => [name, toType(value, type)]))
  if (includeOtherFields !== true) return { json: fields }
  const keepsBinary = binary !== undefined && options.stripBinary !== true
  return { json: { ...json, ...fields }, ...keepsBinary ? { binary } : {} }
}
