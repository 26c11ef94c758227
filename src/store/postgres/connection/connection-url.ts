import type { ClientConfig } from 'pg'
import { ServerUnusable } from '../failures.ts'
import { createReadPassword } from './passfile.ts'
import { toTlsOptions } from './tls-options.ts'

/*
 * A URL as libpq reads it. What cannot be honoured is an error: a setting that is ignored, like sslmode in another
 * driver, would be one that its user relies on. No error quotes a part of the URL, since a password with a character
 * that should have been encoded makes parts of it look like a host, a port, or a parameter.
 */

export type Host = { host: string, port: number }

/** At least one. */
export type Hosts = readonly [Host, ...Host[]]

/**
 * Where and how to connect. `options`: settings of the session. `connectMs`: how long to wait for a connection;
 * undefined: the URL does not say.
 */
export type ConnectionTarget = {
  hosts: Hosts
  options: string
  connectMs: number | undefined
  settings: Omit<ClientConfig, 'host' | 'port' | 'options'>
}

const portDefault = 5432

const form = /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?([^@/?#]*)(?:\/([^@/?#]*))?(?:\?([^#]*))?$/i

const encodings = 'in a password, write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and & as %26'

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new ServerUnusable('the URL must have % written as %25')
  }
}

const toPort = (text: string): number => {
  if (text === '') return portDefault
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65535) {
    throw new ServerUnusable(`the URL has a port that is not a number from 1 to 65535; ${encodings}`)
  }
  return port
}

const hostForm = /^(\[[0-9a-f:.%]+\]|[^:[\]]*)(?::(\d*))?$/i

const toHost = (text: string): Host => {
  const [, host = '', port = ''] = hostForm.exec(text) ?? []
  if (host === '' && text !== '') {
    throw new ServerUnusable(`the URL has a host that is not like name, name:5432 or [::1]:5432; ${encodings}`)
  }
  return { host: decode(host.replace(/^\[(.*)\]$/, '$1')) || 'localhost', port: toPort(port) }
}

// As parameters, hosts and ports are lists of their own; one port is that of all hosts. A text that is split has at
// least one part.
const toHosts = (authority: string, parameters: Parameters): Hosts => {
  const [hosts, ports] = [parameters.take('host'), parameters.take('port')?.split(',')]
  if (authority !== '' && (hosts ?? ports) !== undefined) {
    throw new ServerUnusable('the URL names its hosts twice, before and behind the question mark')
  }
  if (hosts === undefined && ports === undefined) return authority.split(',').map(toHost) as [Host, ...Host[]]
  const names = (hosts ?? 'localhost').split(',')
  if (ports !== undefined && ports.length !== 1 && ports.length !== names.length) {
    throw new ServerUnusable(`the URL has ${names.length} hosts and ${ports.length} ports`)
  }
  return names.map((name, index) => ({
    host: name || 'localhost', port: toPort((ports?.length === 1 ? ports[0] : ports?.[index]) ?? '')
  })) as [Host, ...Host[]]
}

/** The parameters behind the question mark, each taken once. `count`: of those that were not taken. */
export type Parameters = { take: (name: string) => string | undefined, count: () => number }

const toParameters = (search: string): Parameters => {
  const entries = new Map<string, string>()
  for (const part of search.split('&').filter(part => part !== '')) {
    const end = part.indexOf('=')
    if (end < 1) throw new ServerUnusable(`the URL has a parameter that is not like name=value; ${encodings}`)
    const name = decode(part.slice(0, end))
    if (entries.has(name)) throw new ServerUnusable('the URL has a parameter more than once')
    entries.set(name, decode(part.slice(end + 1)))
  }
  return {
    take: name => {
      const value = entries.get(name)
      entries.delete(name)
      return value
    },
    count: () => entries.size
  }
}

/** Takes a parameter of which only some values mean what the service does anyway. */
const requireValue = (parameters: Parameters, name: string, accepted: readonly string[], why: string): void => {
  const value = parameters.take(name)
  if (value === undefined || accepted.includes(value)) return
  throw new ServerUnusable(`${name} can only be ${accepted.join(' or ')}: ${why}`)
}

const requireAccepted = (parameters: Parameters): void => {
  requireValue(parameters, 'target_session_attrs', ['any', 'read-write', 'primary'],
    'the service reads and writes on the primary, which it finds among the hosts')
  requireValue(parameters, 'load_balance_hosts', ['disable'], 'there is one primary')
  requireValue(parameters, 'client_encoding', ['UTF8', 'utf8', 'UTF-8', 'utf-8', 'auto'], 'the service speaks UTF-8')
  requireValue(parameters, 'gssencmode', ['disable', 'prefer'], 'the driver has no GSSAPI')
  requireValue(parameters, 'keepalives', ['1'], 'a lost connection would not be noticed')
  requireValue(parameters, 'channel_binding', ['disable', 'prefer'], 'the driver cannot require it')
}

const takeMs = (parameters: Parameters, name: string): number | undefined => {
  const text = parameters.take(name)
  if (text === undefined) return undefined
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new ServerUnusable(`${name} must be a number of seconds`)
  return 1000 * Number(text)
}

// Space and backslash are written with a backslash, as in `options` itself.
const toOptions = (parameters: Parameters): string => {
  const options = parameters.take('options') ?? ''
  const searchPath = parameters.take('search_path')
  if (searchPath === undefined) return options
  return `${options} -c search_path=${searchPath.replace(/[\\ ]/g, '\\$&')}`.trim()
}

const withoutUndefined = <Value extends object>(value: Value) =>
  Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as {
    [Key in keyof Value]: Exclude<Value[Key], undefined>
  }

/** Reads a URL. Throws ServerUnusable if it is none, or says what cannot be honoured. */
export const parseConnectionUrl = (url: string): ConnectionTarget => {
  const match = form.exec(url)
  if (match === null) {
    throw new ServerUnusable(`the URL must be like postgres://user:password@host:5432/database; ${encodings}`)
  }
  const [, credentials = '', authority = '', path = '', search = ''] = match
  const parameters = toParameters(search)
  const [userInfo = '', passwordInfo] = credentials.includes(':')
    ? [credentials.slice(0, credentials.indexOf(':')), credentials.slice(credentials.indexOf(':') + 1)]
    : [credentials]
  const hosts = toHosts(authority, parameters)
  const user = parameters.take('user') ?? (userInfo === '' ? undefined : decode(userInfo))
  const database = parameters.take('dbname') ?? (path === '' ? undefined : decode(path))
  const passfile = parameters.take('passfile')
  const password = parameters.take('password') ?? (passwordInfo === undefined ? undefined : decode(passwordInfo))
  requireAccepted(parameters)
  const connectMs = takeMs(parameters, 'connect_timeout')
  const [name, fallbackName] = [parameters.take('application_name'), parameters.take('fallback_application_name')]
  const settings = withoutUndefined({
    user,
    database,
    password: password ?? (passfile === undefined ? undefined : createReadPassword(passfile)),
    ssl: toTlsOptions(parameters),
    application_name: name ?? fallbackName ?? 'job-status-service',
    keepAliveInitialDelayMillis: takeMs(parameters, 'keepalives_idle') ?? 5000
  })
  const options = toOptions(parameters)
  if (parameters.count() > 0) {
    throw new ServerUnusable('the URL has a parameter that is not supported: docs/postgres.md lists those that are; ' +
      encodings)
  }
  return { hosts, options, connectMs, settings }
}
