import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** `there`: to the server; `back`: from it. */
export type Direction = 'there' | 'back'

/** TCP connections in the middle, to be made worse. */
export type Wire = {
  /** What comes from now on arrives this much later, in order; Infinity: not before the delay is changed, and then all of it. */
  delay: (direction: Direction, ms: number) => void
  /** Ends all connections, with whatever is on its way. */
  cut: () => void
  /** Whether new connections are ended at once. */
  refuse: (isRefusing: boolean) => void
  /** Whether connections from these addresses are ended, those that there are and new ones. */
  block: (addresses: readonly string[], isBlocked: boolean) => void
  close: () => Promise<void>
}

/** A wire to one port of this machine. */
export type Proxy = Wire & {
  /** That of the proxy. */
  port: number
  /** Holds what comes after so many more bytes, until the delay is changed. */
  holdAfter: (direction: Direction, bytes: number) => void
}

type Pipe = { retime: () => void }

// Carries bytes from one socket to the other, as late as `delayMs` says when they come.
const carry = (from: Socket, to: Socket, delayMs: () => number, onBytes: (count: number) => void): Pipe => {
  const waiting: { chunk: Buffer, at: number }[] = []
  let timer: NodeJS.Timeout | undefined
  const deliver = () => {
    clearTimeout(timer)
    const now = performance.now()
    while (waiting[0] !== undefined && waiting[0].at <= now) {
      const { chunk } = waiting.shift() as { chunk: Buffer }
      if (!to.destroyed) to.write(chunk)
    }
    const next = waiting[0]
    if (next !== undefined && next.at !== Infinity) timer = setTimeout(deliver, next.at - now)
  }
  from.on('data', chunk => {
    onBytes(chunk.length)
    waiting.push({ chunk, at: Math.max(waiting.at(-1)?.at ?? 0, performance.now() + delayMs()) })
    deliver()
  })
  from.on('close', () => {
    clearTimeout(timer)
    to.destroy()
  })
  return {
    retime: () => {
      const at = performance.now() + delayMs()
      for (const each of waiting) if (each.at > at) each.at = at
      deliver()
    }
  }
}

/** Stands before a port of this machine. */
export const startProxy = async (targetPort: number): Promise<Proxy> => {
  const sockets = new Set<Socket>()
  const pipes: Record<Direction, Set<Pipe>> = { there: new Set(), back: new Set() }
  const delayMs: Record<Direction, number> = { there: 0, back: 0 }
  const bytesLeft: Record<Direction, number> = { there: Infinity, back: Infinity }
  const pass = (direction: Direction) => (bytes: number) => {
    bytesLeft[direction] -= bytes
    if (bytesLeft[direction] < 0) delayMs[direction] = Infinity
  }
  let isRefusing = false
  const blocked = new Set<string>()
  const isBlocked = ({ remoteAddress = '' }: Socket): boolean => blocked.has(remoteAddress)

  const server = createServer({ noDelay: true }, client => {
    if (isRefusing || isBlocked(client)) return client.destroy()
    const upstream = connect({ port: targetPort, host: '127.0.0.1', noDelay: true })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    const there = carry(client, upstream, () => delayMs.there, pass('there'))
    const back = carry(upstream, client, () => delayMs.back, pass('back'))
    pipes.there.add(there)
    pipes.back.add(back)
    client.on('close', () => {
      sockets.delete(client)
      sockets.delete(upstream)
      pipes.there.delete(there)
      pipes.back.delete(back)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  const cut = () => { for (const socket of sockets) socket.destroy() }
  return {
    port: (server.address() as AddressInfo).port,
    delay: (direction, ms) => {
      bytesLeft[direction] = Infinity
      delayMs[direction] = ms
      for (const pipe of pipes[direction]) pipe.retime()
    },
    holdAfter: (direction, bytes) => { bytesLeft[direction] = bytes },
    cut,
    refuse: refusing => { isRefusing = refusing },
    block: (addresses, isNowBlocked) => {
      for (const address of addresses) isNowBlocked ? blocked.add(address) : blocked.delete(address)
      for (const socket of sockets) if (isBlocked(socket)) socket.destroy()
    },
    close: async () => {
      cut()
      server.close()
      await once(server, 'close')
    }
  }
}
