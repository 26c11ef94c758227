import ipaddr from 'ipaddr.js'

/*
 * Which addresses a callback may reach. The service stands inside a network, and the URL comes from a client: without
 * this check the client could make the service call what only that network can reach.
 */

/** A host or a range of addresses that the operator allows; `port` null: at every port. */
export type AllowedHost =
  | { kind: 'host', name: string, port: number | null }
  | { kind: 'range', range: [ipaddr.IPv4 | ipaddr.IPv6, number], port: number | null }

// A name may end with the dot of the root.
const withoutRoot = (name: string): string => name.replace(/\.$/, '')

const hostExpression = /^(\[[^\]]+\]|[^:[\]/?#@*\\\s]+)(?::(\d{1,5}))?$/

const toRange = (text: string): AllowedHost | undefined => {
  if (!ipaddr.isValidCIDR(text)) return undefined
  const range = ipaddr.parseCIDR(text)
  // 010.0.0.0 is read as octal by some programs, and as decimal by others.
  if (range[0].kind() === 'ipv4' && !text.startsWith(`${range[0].toString()}/`)) return undefined
  return { kind: 'range', range, port: null }
}

/** The host name of a URL, without the brackets of an IPv6 address. */
export const toHostName = (hostname: string): string => hostname.replace(/^\[(.*)\]$/, '$1')

/** Reads a host, `host:port`, an address or a CIDR; undefined if the text is none of these. */
export const parseAllowedHost = (text: string): AllowedHost | undefined => {
  if (text.includes('/')) return toRange(text)
  const [, written = '', digits] = hostExpression.exec(ipaddr.IPv6.isValid(text) ? `[${text}]` : text) ?? []
  if (written === '' || !URL.canParse(`http://${written}`)) return undefined
  const name = toHostName(new URL(`http://${written}`).hostname)
  const port = digits === undefined ? null : Number(digits)
  if (port !== null && (port < 1 || port > 65535)) return undefined
  if (!ipaddr.isValid(name)) return { kind: 'host', name: withoutRoot(name), port }
  const address = ipaddr.parse(name)
  return { kind: 'range', range: [address, address.kind() === 'ipv4' ? 32 : 128], port }
}

/** Whether the operator names this host, which is not an address. */
export const isNamed = (allowed: readonly AllowedHost[], name: string, port: number): boolean => allowed.some(entry =>
  entry.kind === 'host' && entry.name === withoutRoot(name) && (entry.port ?? port) === port)

const isInRange = (entry: AllowedHost, address: ipaddr.IPv4 | ipaddr.IPv6, port: number): boolean => {
  if (entry.kind !== 'range' || (entry.port ?? port) !== port) return false
  const [network, bits] = entry.range
  return network.kind() === address.kind() && address.match(network, bits)
}

// The only block of IPv6 from which global unicast addresses are given out.
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

const rangeOf = (address: ipaddr.IPv4 | ipaddr.IPv6): string => {
  const range: string = address.range()
  const isOutside = range === 'unicast' && address.kind() === 'ipv6' && !address.match(globalUnicast)
  return isOutside ? 'reserved' : range
}

/** Whether a host name is an address, in the form that a URL parser gives it. */
export const isAddress = (name: string): boolean => ipaddr.isValid(name)

/** Whether the operator names a range that has this address. */
export const isAddressNamed = (allowed: readonly AllowedHost[], address: string, port: number): boolean =>
  ipaddr.isValid(address) && allowed.some(entry => isInRange(entry, ipaddr.parse(address), port))

/**
 * The range, like `private` or `loopback`, because of which this address may not be called; undefined: it may be. Only
 * global unicast addresses may, and those that the operator allows.
 */
export const findRefusedRange = (
  allowed: readonly AllowedHost[], address: string, port: number
): string | undefined => {
  if (!ipaddr.isValid(address)) return 'unknown'
  const range = rangeOf(ipaddr.parse(address))
  return range === 'unicast' || isAddressNamed(allowed, address, port) ? undefined : range
}
