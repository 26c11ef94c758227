import { type AllowedHost, findRefusedRange, isAddress, isAddressNamed, isNamed, toHostName } from './allowed-hosts.ts'

/** The longest URL. */
export const callbackUrlMax = 2048

/**
 * Where a callback goes. Host and port are those of the URL parser: they are checked, and connected to. `path` is path
 * and query as they were submitted.
 */
export type CallbackTarget = {
  protocol: 'http:' | 'https:'
  /** A name or an address, without brackets. */
  hostName: string
  port: number
  /** Host and port, as the Host header has them. */
  host: string
  path: string
}

/** Why a URL is no callback URL; the text continues a sentence that begins with its name. */
class CallbackUrlInvalid extends Error {
  constructor (message: string) {
    super(message)
    this.name = 'CallbackUrlInvalid'
  }
}

const urlExpression = /^(https?):\/\/([^/?#\\]+)([^#]*)$/i
// No blank and no control character: parsers remove some of them, so that two programs may see two URLs.
const blankExpression = /[\s\p{Cc}]/u
const beyondAscii = /[^\x21-\x7e]+/g

const toUrl = (text: string): { url: URL, rest: string } => {
  if (text.length > callbackUrlMax) throw new CallbackUrlInvalid(`must have at most ${callbackUrlMax} characters`)
  if (blankExpression.test(text)) throw new CallbackUrlInvalid('must have neither blanks nor control characters')
  if (text.includes('#')) throw new CallbackUrlInvalid('must have no fragment')
  const [, , authority = '', rest = ''] = urlExpression.exec(text) ?? []
  if (authority === '' || !text.isWellFormed() || !URL.canParse(text)) {
    throw new CallbackUrlInvalid('must be a URL that begins with https://')
  }
  const url = new URL(text)
  if (authority.includes('@') || url.username !== '' || url.password !== '') {
    throw new CallbackUrlInvalid('must have neither user name nor password')
  }
  if (rest.startsWith('\\')) throw new CallbackUrlInvalid('must have a path that begins with /')
  if (url.port === '0') throw new CallbackUrlInvalid('must not have the port 0')
  return { url, rest }
}

/** Reads a callback URL. Throws CallbackUrlInvalid. */
export const toCallbackTarget = (text: string): CallbackTarget => {
  const { url: { protocol, hostname, host, port }, rest } = toUrl(text)
  // A request line is ASCII.
  const path = rest.replaceAll(beyondAscii, part => encodeURIComponent(part))
  return {
    protocol: protocol === 'http:' ? 'http:' : 'https:',
    hostName: toHostName(hostname),
    port: port === '' ? (protocol === 'http:' ? 80 : 443) : Number(port),
    host,
    path: path.startsWith('/') ? path : `/${path}`
  }
}

/** What may be shown of a callback URL: its query may hold a secret of the receiver. */
export const toShownUrl = (text: string): string => {
  const { protocol, host, path } = toCallbackTarget(text)
  return `${protocol}//${host}${path.split('?', 1)[0] ?? ''}`
}

/**
 * Why this target may not be called, as far as the URL itself shows it; undefined: it may. The addresses of a name are
 * checked when it is called.
 */
export const findRefusal = (target: CallbackTarget, allowed: readonly AllowedHost[]): string | undefined => {
  const { protocol, hostName, port } = target
  const isLiteral = isAddress(hostName)
  const isAllowed = isLiteral ? isAddressNamed(allowed, hostName, port) : isNamed(allowed, hostName, port)
  if (isAllowed) return undefined
  if (protocol === 'http:') return 'must begin with https://, except for hosts that CALLBACK_HOSTS_ALLOWED names'
  const range = isLiteral ? findRefusedRange(allowed, hostName, port) : undefined
  return range === undefined
    ? undefined
    : `must lead to a public address: this one is ${range}, and CALLBACK_HOSTS_ALLOWED does not name it`
}
