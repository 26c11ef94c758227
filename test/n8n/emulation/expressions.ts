import { runInNewContext } from 'node:vm'
import type { Json } from '../../helpers/client.ts'

/** The variables that an expression sees: `$json`, `$now`, `$execution`, `$('Node')`. */
export type Scope = Record<string, unknown>

const evaluate = (code: string, scope: Scope): Json => runInNewContext(`(${code})`, { ...scope })

/**
 * The value of a parameter. Text that begins with `=` is an expression: a single `{{ … }}` has the type of its value,
 * several are joined with the text between them.
 */
export const resolveParameter = (value: Json, scope: Scope): Json => {
  if (Array.isArray(value)) return value.map(element => resolveParameter(element, scope))
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, resolveParameter(field, scope)]))
  }
  if (typeof value !== 'string' || !value.startsWith('=')) return value
  const [, single] = /^=\s*\{\{((?:(?!\}\}).)*)\}\}\s*$/s.exec(value) ?? []
  if (single !== undefined) return evaluate(single, scope)
  return value.slice(1).replace(/\{\{(.*?)\}\}/gs, (_, code: string) => String(evaluate(code, scope)))
}
