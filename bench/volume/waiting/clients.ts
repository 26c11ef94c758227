import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { sign, toRequest } from '../../requests.ts'

/*
 * Clients that wait: one socket each, and as little work of this process as possible, since it shares the machine with
 * the servers.
 */

const authorization = `Bearer ${sign()}`

/** The bytes of a GET request with a token. */
export const toGet = (url: string, path: string, headers: Record<string, string> = {}): Buffer =>
  toRequest('GET', url, path, { authorization, ...headers })

/** The bytes of a POST request with a token and, where there is one, a JSON body. */
export const toPost = (url: string, path: string, json = ''): Buffer => toRequest('POST', url, path, {
  authorization,
  'content-length': String(Buffer.byteLength(json)),
  ...json === '' ? {} : { 'content-type': 'application/json' }
}, json)

// One for all sockets: what it holds is used before the next read.
const buffer = Buffer.allocUnsafe(256 * 1024)

/** Opens a connection. `onBytes` gets a view of what has arrived, which is valid during the call only. */
export const openClient = async (url: string, onBytes: (bytes: Buffer) => void): Promise<Socket> => {
  const { hostname: host, port } = new URL(url)
  const socket = connect({
    host,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer,
      callback: (count, into) => {
        onBytes(Buffer.from(into.buffer, into.byteOffset, count))
        return true
      }
    }
  })
  await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  return socket
}

const openedAtOnce = 200

/** What the clients do: each sends one request. */
export type Crowd = {
  url: string
  count: number
  toRequest: (index: number) => Buffer
  onBytes?: (index: number, bytes: Buffer) => void
  /** How long to wait until all have been read, and garbage has been collected. */
  settleMs?: number
}

/** Opens clients that each send one request. Returns a function that closes them. */
export const openCrowd = async (
  { url, count, toRequest, onBytes = () => {}, settleMs = 3000 }: Crowd
): Promise<() => void> => {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const first = sockets.length
    const some = Array.from({ length: Math.min(openedAtOnce, count - first) }, async (_, offset) => {
      const index = first + offset
      const socket = await openClient(url, bytes => { onBytes(index, bytes) })
      socket.write(toRequest(index))
      return socket
    })
    sockets.push(...await Promise.all(some))
  }
  await delay(settleMs)
  return () => { for (const socket of sockets) socket.destroy() }
}
