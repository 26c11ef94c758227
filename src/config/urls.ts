import { OperatorError } from '../errors.ts'
import type { Problems } from './problems.ts'

/*
 * Settings that are URLs. What the grammar of a URL allows is honoured as a whole, or it is a problem: a part that was
 * ignored would stand in the configuration and have no effect. No problem repeats the URL, which may hold a password.
 */

const toUrl = (name: string, text: string, protocols: readonly string[]): URL => {
  // The parser also accepts https:host, and mends it.
  const isWhole = protocols.some(protocol => text.toLowerCase().startsWith(`${protocol}//`))
  if (isWhole && URL.canParse(text)) return new URL(text)
  throw new OperatorError(`${name}: must be a URL that begins with ${protocols.map(p => `${p}//`).join(' or ')}`)
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

const decode = (text: string, problem: string): string => {
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

const takeOptions = (search: string, known: readonly string[]): URLSearchParams => {
  const options = new URLSearchParams(search)
  for (const name of options.keys()) {
    if (!known.includes(name)) throw new OperatorError(`REDIS_URL: ${name} is not supported here`)
    if (options.getAll(name).length > 1) throw new OperatorError(`REDIS_URL: has ${name} more than once`)
  }
  const { db = '0', family = '0' } = Object.fromEntries(options)
  if (!/^\d{1,9}$/.test(db)) throw new OperatorError('REDIS_URL: db must be the number of a database')
  if (!/^[046]$/.test(family)) throw new OperatorError('REDIS_URL: family must be 0, 4 or 6')
  return options
}

const requirePassword = (username: string | null, password: string | null): void => {
  if (username && !password) throw new OperatorError('REDIS_URL: a user name needs a password')
}

const toSocketUrl = (text: string): string => {
  const [, written = '', search = ''] = /^unix:(?:\/\/)?(\/(?!\/)[^?]+)(.*)$/is.exec(text) ?? []
  const path = decode(written, 'REDIS_URL: must have % written as %25')
  if (path === '' || /[?\0]/.test(path)) {
    throw new OperatorError('REDIS_URL: must name a socket by its absolute path, like unix:///run/redis.sock')
  }
  const options = takeOptions(search, ['db', 'username', 'password'])
  requirePassword(options.get('username'), options.get('password'))
  return `unix://${path}${options.size === 0 ? '' : `?${options.toString()}`}`
}

const takeDatabase = (pathname: string, option: string | null): string => {
  const number = pathname.replace(/^\//, '')
  if (!/^\d{0,9}$/.test(number)) {
    throw new OperatorError('REDIS_URL: the path must be the number of a database, like /1')
  }
  if (number === '' || option === null || option === number) return number === '' ? option ?? '' : number
  throw new OperatorError('REDIS_URL: names two databases')
}

const hostExpression = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]*)$/i

// The URL as the client of Redis reads it whole: it takes the database from the path, and TLS from small letters only.
const toRedisUrl = (text: string): string => {
  if (text.includes('#')) throw new OperatorError('REDIS_URL: must have no fragment; write # as %23')
  if (/^unix:/i.test(text)) return toSocketUrl(text)
  const url = toUrl('REDIS_URL', text, ['redis:', 'rediss:', 'unix:'])
  if (!hostExpression.test(url.hostname) || url.port === '0') {
    throw new OperatorError('REDIS_URL: must name one host, and its port if not 6379')
  }
  for (const part of [url.username, url.password]) decode(part, 'REDIS_URL: must have % written as %25')
  requirePassword(url.username, url.password)
  const options = takeOptions(url.search, ['db', 'family'])
  const database = takeDatabase(url.pathname, options.get('db'))
  options.delete('db')
  url.pathname = database
  url.search = options.toString()
  if (url.hostname === '') url.hostname = 'localhost'
  return url.href
}

const collect = <Value>(parse: (text: string) => Value) =>
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

/** The URL in the one form that src/cache reads. */
export const parseRedisUrl = collect(toRedisUrl)
