import { OperatorError } from '../errors.ts'
import type { Problems } from './problems.ts'

/*
 * Settings that are URLs. What the grammar of a URL allows is honoured as a whole, or it is a problem: a part that was
 * ignored would stand in the configuration and have no effect. No problem repeats the URL, which may hold a password.
 */

/** A URL with one of these protocols. */
export const toUrl = (name: string, text: string, protocols: readonly string[]): URL => {
  // The parser also accepts https:host, and mends it.
  const isWhole = protocols.some(protocol => text.toLowerCase().startsWith(`${protocol}//`))
  if (!isWhole) {
    throw new OperatorError(`${name}: must be a URL that begins with ${protocols.map(p => `${p}//`).join(' or ')}`)
  }
  if (URL.canParse(text)) return new URL(text)
  throw new OperatorError(
    `${name}: has a host or a port that cannot be read; a port is a number up to 65535, and other characters of a ` +
    'password are percent-encoded'
  )
}

const rejectUserInfo = (name: string, { username, password }: URL): void => {
  if (username !== '' || password !== '') {
    throw new OperatorError(`${name}: must have neither user name nor password`)
  }
}

const toPublicUrl = (text: string): string => {
  const url = toUrl('PUBLIC_URL', text, ['http:', 'https:'])
  rejectUserInfo('PUBLIC_URL', url)
  if (url.search !== '' || url.hash !== '') throw new OperatorError('PUBLIC_URL: must have neither query nor fragment')
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

const toKeySetUrl = (text: string): URL => {
  const url = toUrl('JWKS_URL', text, ['http:', 'https:'])
  rejectUserInfo('JWKS_URL', url)
  if (url.hash !== '') throw new OperatorError('JWKS_URL: must have no fragment')
  return url
}

/** Undoes percent-encoding. */
export const decode = (text: string, problem: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new OperatorError(problem)
  }
}

const toSqliteUrl = (text: string): string => {
  const [, slashes, written = ''] = /^sqlite:(\/\/)?(.*)$/s.exec(text) ?? []
  if (/[?#]/.test(written)) {
    throw new OperatorError('DATABASE_URL: must have neither options nor a fragment; write ? as %3F and # as %23')
  }
  const path = decode(written, 'DATABASE_URL: must have % of its path written as %25')
  // These are files to SQLite under no name, or in memory.
  if (/^(file:.*|.*\0.*|(.*\/)?(:memory:|\.{0,2}))$/s.test(path)) {
    throw new OperatorError('DATABASE_URL: must be sqlite:PATH, the path of a file, or a URL that begins with postgres://')
  }
  if (slashes !== undefined && !path.startsWith('/')) {
    throw new OperatorError('DATABASE_URL: must name no host: write sqlite:PATH or sqlite:///PATH')
  }
  return `sqlite:${path}`
}

// What stands behind postgres:// is read by the store, which knows what it can honour.
const toDatabaseUrl = (text: string): string => /^postgres(ql)?:\/\//.test(text) ? text : toSqliteUrl(text)

/** A parser that adds what is wrong to the problems; null: there is no value. */
export const collect = <Value>(parse: (text: string) => Value) =>
  (text: string | undefined, problems: Problems): Value | null => {
    if (text === undefined) return null
    try {
      return parse(text)
    } catch (error) {
      problems.push((error as Error).message)
      return null
    }
  }

/** The absolute URL that links begin with, without a slash at its end. */
export const parsePublicUrl = collect(toPublicUrl)

export const parseKeySetUrl = collect(toKeySetUrl)

/** The URL of the database in the form that src/store reads. */
export const parseDatabaseUrl = collect(toDatabaseUrl)
