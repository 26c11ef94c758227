import { OperatorError } from '../errors.ts'
import { collect, decode, toUrl } from './urls.ts'

/*
 * REDIS_URL: one server, the Sentinels that know the master of a group, or the nodes of a cluster. The URL parser of the
 * platform knows one host a URL, so lists are read here.
 */

export type RedisHost = Readonly<{ host: string, port: number }>

type Credentials = Readonly<{ username?: string, password?: string }>
type ListedRedis = Readonly<{ hosts: readonly RedisHost[], credentials: Credentials, tls: boolean, family: number }>

/** Which Redis a URL names. `location`: the URL as the client of Redis reads it. */
export type RedisTarget =
  | Readonly<{ kind: 'redis', location: string }>
  | ListedRedis & Readonly<{ kind: 'redis-sentinel', name: string, db: number, sentinelCredentials: Credentials }>
  | ListedRedis & Readonly<{ kind: 'redis-cluster' }>

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

const badEscape = 'REDIS_URL: must have % written as %25'

const toSocketUrl = (text: string): string => {
  const [, written = '', search = ''] = /^unix:(?:\/\/)?(\/(?!\/)[^?]+)(.*)$/is.exec(text) ?? []
  const path = decode(written, badEscape)
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

const protocols = [
  'redis:', 'rediss:', 'unix:', 'redis+sentinel:', 'rediss+sentinel:', 'redis+cluster:', 'rediss+cluster:'
]

// The URL as the client of Redis reads it whole: it takes the database from the path, and TLS from small letters only.
const toServerUrl = (text: string): string => {
  if (/^unix:/i.test(text)) return toSocketUrl(text)
  const url = toUrl('REDIS_URL', text, protocols)
  if (!hostExpression.test(url.hostname) || url.port === '0') {
    throw new OperatorError('REDIS_URL: must name one host, and its port if not 6379')
  }
  for (const part of [url.username, url.password]) decode(part, badEscape)
  requirePassword(url.username, url.password)
  const options = takeOptions(url.search, ['db', 'family'])
  const database = takeDatabase(url.pathname, options.get('db'))
  options.delete('db')
  url.pathname = database
  url.search = options.toString()
  if (url.hostname === '') url.hostname = 'localhost'
  return url.href
}

const toHost = (text: string, portDefault: number): RedisHost => {
  const [, host = '', port = ''] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i.exec(text) ?? []
  const number = port === '' ? portDefault : Number(port)
  if (host === '' || number < 1 || number > 65535) {
    throw new OperatorError('REDIS_URL: must name its hosts like HOST:PORT, with commas between them')
  }
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: number }
}

const toCredentials = (username: string | null, password: string | null): Credentials => {
  requirePassword(username, password)
  return { ...username ? { username } : {}, ...password ? { password } : {} }
}

const takeMaster = (pathname: string): { name: string, db: number } => {
  const [, written = '', db = '0'] = /^\/([^/]+)(?:\/(\d{1,9})?)?$/.exec(pathname) ?? []
  if (written === '') {
    throw new OperatorError('REDIS_URL: the path must be the name that the Sentinels give the master, like /mymaster')
  }
  return { name: decode(written, badEscape), db: Number(db) }
}

const listForms = {
  sentinel: 'redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB',
  cluster: 'redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT'
}

const toListTarget = (text: string, scheme: string, kind: keyof typeof listForms): RedisTarget => {
  const [, , userInfo = '', hosts = '', pathname = '', search = ''] =
    /^([^:]+):\/\/(?:([^@/?]*)@)?([^@/?]+)(\/[^?@]*)?(\?.*)?$/s.exec(text) ?? []
  if (hosts === '') {
    throw new OperatorError(`REDIS_URL: must have the form ${listForms[kind]}, other characters percent-encoded`)
  }
  const [username = '', ...password] = userInfo.split(':').map(part => decode(part, badEscape))
  const options = takeOptions(
    search, kind === 'sentinel' ? ['family', 'sentinelUsername', 'sentinelPassword'] : ['family']
  )
  const listed = {
    hosts: hosts.split(',').map(host => toHost(host, kind === 'sentinel' ? 26379 : 6379)),
    credentials: toCredentials(username, password.join(':')),
    tls: scheme.toLowerCase() === 'rediss',
    family: Number(options.get('family') ?? 0)
  }
  if (kind === 'sentinel') {
    const sentinelCredentials = toCredentials(options.get('sentinelUsername'), options.get('sentinelPassword'))
    return { kind: 'redis-sentinel', ...listed, ...takeMaster(pathname), sentinelCredentials }
  }
  if (pathname.length > 1) throw new OperatorError('REDIS_URL: a cluster has no databases, so there must be no path')
  return { kind: 'redis-cluster', ...listed }
}

/** What a URL of Redis names. Throws an OperatorError that does not repeat the URL, which may hold a password. */
export const toRedisTarget = (text: string): RedisTarget => {
  if (text.includes('#')) throw new OperatorError('REDIS_URL: must have no fragment; write # as %23')
  const [, scheme, kind] = /^(rediss?)\+(sentinel|cluster):\/\//i.exec(text) ?? []
  if (scheme === undefined || kind === undefined) return { kind: 'redis', location: toServerUrl(text) }
  return toListTarget(text, scheme, kind.toLowerCase() as keyof typeof listForms)
}

export const parseRedisUrl = collect(toRedisTarget)
