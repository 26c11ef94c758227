import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Client, createClient } from '../client/client.ts'
import { Exit, exitCodes } from './exit.ts'

/** The options of every command that talks to a service. */
export type ConnectionOptions = { url?: string, token?: string, patience?: string }

const urlDefault = 'http://127.0.0.1:3000'
const localSecretPath = 'data/jwt-secret'
const mintedSeconds = 300
/** As long as the window of a rate limit: a shorter patience would give up before it. */
export const patienceDefault = '60'
const loopback = ['localhost', '127.0.0.1', '[::1]']

const toBase64Url = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A JWT, signed with HS256. */
export const mintToken = (secret: string, claims: object, seconds: number): string => {
  const iat = Math.floor(Date.now() / 1000)
  const content = `${toBase64Url({ alg: 'HS256', typ: 'JWT' })}.${toBase64Url({ iat, exp: iat + seconds, ...claims })}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

/** The key of a service that was started in this folder; undefined if there is none. */
export const readLocalSecret = (): string | undefined => {
  const { JWT_SECRET: secret } = process.env
  if (secret !== undefined && secret !== '') return secret
  try {
    return readFileSync(localSecretPath, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** What the local service asks of its tokens, beside the key. */
export const localClaims = (): { iss: string | undefined, aud: string | undefined } => {
  const { JWT_ISSUER, JWT_AUDIENCE } = process.env
  return { iss: JWT_ISSUER || undefined, aud: JWT_AUDIENCE || undefined }
}

const localScope = 'jobs:read jobs:write jobs:work jobs:admin'

const createOwnToken = (url: URL): (() => string) | undefined => {
  if (!loopback.includes(url.hostname)) return undefined
  const secret = readLocalSecret()
  if (secret === undefined) return undefined
  process.stderr.write('job-status: no JOB_STATUS_TOKEN: using a token of five minutes for the local service\n')
  return () => mintToken(secret, { ...localClaims(), sub: 'job-status', scope: localScope }, mintedSeconds)
}

const parseUrl = (text: string): URL => {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Exit(exitCodes.usage, `job-status: --url: ${text} is no http URL`)
  // fetch takes none, and messages would show them.
  if (url.username !== '' || url.password !== '') throw new Exit(exitCodes.usage, 'job-status: --url: must be without user and password')
  return url
}

/** A number of an option. */
export const parseNumber = (name: string, text: string, min: number): number => {
  const number = Number(text)
  if (text.trim() === '' || !Number.isFinite(number) || number < min) {
    throw new Exit(exitCodes.usage, `job-status: ${name}: must be a number of at least ${min}`)
  }
  return number
}

type Target = { url: string, token: string | (() => string) }

const findTarget = ({ url, token }: ConnectionOptions): Target => {
  const { JOB_STATUS_URL, JOB_STATUS_TOKEN } = process.env
  // An empty variable counts as unset, as in the service.
  const target = parseUrl(url ?? (JOB_STATUS_URL || urlDefault))
  const given = token ?? (JOB_STATUS_TOKEN || createOwnToken(target))
  if (given === undefined) {
    throw new Exit(exitCodes.token, 'job-status: no token: set JOB_STATUS_TOKEN, or use --token')
  }
  return { url: target.href.replace(/\/$/, ''), token: given }
}

/** The service that the options and the environment name, and a client of it. */
export const connect = (options: ConnectionOptions): Target & { client: Client } => {
  const target = findTarget(options)
  const patienceMs = parseNumber('--patience', options.patience ?? patienceDefault, 0) * 1000
  return { ...target, client: createClient({ ...target, patienceMs }) }
}
