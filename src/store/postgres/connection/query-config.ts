import type { CompiledQuery } from 'kysely'
import type pg from 'pg'

// The service has fewer statements than this. What has a list of values has a text for every length of the list.
const namesMax = 1000
const namedParametersMax = 60

const names = new Map<string, string>()

// The name stands for the same text on every connection.
const nameOf = ({ sql, parameters }: CompiledQuery): string | undefined => {
  const known = names.get(sql)
  if (known !== undefined) return known
  if (names.size >= namesMax || parameters.length > namedParametersMax) return undefined
  const name = `s${names.size}`
  names.set(sql, name)
  return name
}

/** The statement for pg, under a name where it is worth one. */
export const toQueryConfig = (query: CompiledQuery): pg.QueryConfig => {
  const [name, text, values] = [nameOf(query), query.sql, [...query.parameters]]
  return name === undefined ? { text, values } : { name, text, values }
}

/** Whether a statement only reads and locks. */
export const isRead = ({ sql }: CompiledQuery): boolean => /^\s*select\b/i.test(sql)
