import { lookup, Resolver } from 'node:dns/promises'

/**
 * The addresses of a host name. `isNamed`: the operator allows it by name. Rejects with the error of the resolver, and
 * soon after the signal.
 */
export type ResolveHost = (name: string, isNamed: boolean, signal: AbortSignal) => Promise<string[]>

const queryTimeoutMs = 3000
const queryTries = 2

const queryDns = async (name: string, signal: AbortSignal): Promise<string[]> => {
  const resolver = new Resolver({ timeout: queryTimeoutMs, tries: queryTries })
  signal.addEventListener('abort', () => { resolver.cancel() }, { once: true })
  const [ipv4, ipv6] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
  const addresses = [ipv4, ipv6].flatMap(answer => answer.status === 'fulfilled' ? answer.value : [])
  if (addresses.length > 0 || ipv4.status === 'fulfilled') return addresses
  throw ipv4.reason
}

/**
 * Names that clients choose are asked of the DNS, by queries that end in time and can be cancelled: getaddrinfo holds
 * one of the few threads of the process for as long as a name server hangs. Names that the operator allows may stand in
 * the hosts file or be relative to the search domains, and only getaddrinfo knows these.
 */
export const resolveHost: ResolveHost = async (name, isNamed, signal) =>
  isNamed ? (await lookup(name, { all: true })).map(({ address }) => address) : await queryDns(name, signal)
