import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { App } from '../app.ts'

/*
 * How an app listens and drains.
 */

// Far above Node's 511: a burst of connecting clients overflows that, and each of them retries after a second. The
// system may cap it.
const connectionsWaitingMax = 8192
// localhost may stand for several addresses, and the service listens on one: that of the commands in the README.
const loopback = '127.0.0.1'
const drainGraceMs = 5000

/** How an app begins and ends. */
export type Lifecycle = {
  /** Listens, and only then begins to run jobs: a start that fails must not cost a job an attempt. Returns the URL. */
  listen: (host: string, port: number) => Promise<string>
  /**
   * Says so in its responses and goes on answering for `delayMs` (default: `drainDelayMs`); then stops accepting, answers
   * requests in flight, gives unfinished jobs back to the queue, closes.
   */
  drain: (delayMs?: number) => Promise<void>
  /** Of an app that has retired: lets requests in flight end, and closes all but a server that listens for others. */
  close: () => Promise<void>
}

/** The app that listens for all apps of a process. `passTo`: its requests go to this server from now on. */
export type Front = Pick<App, 'server'> & { url: string, passTo: (server: Server) => void }

/** `pause` waits for some ms. `front`: another app listens for this one. `reusePort`: and so may other processes. */
export type LifecycleOptions = {
  drainDelayMs?: number, pause?: (ms: number) => Promise<unknown>, front?: Front | null, reusePort?: boolean
}

export const createLifecycle = (
  { server, loops, worker, onDraining, onClosing, close }: App,
  { drainDelayMs = 0, pause = delay, front = null, reusePort = false }: LifecycleOptions = {}
): Lifecycle => {
  let draining = false
  let listening: Promise<unknown> = Promise.resolve()
  const listenBehind = async ({ url, passTo }: Front): Promise<string> => {
    await server.ready()
    passTo(server.server)
    return url
  }
  const finish = async (): Promise<void> => {
    await Promise.all(loops.map(loop => loop.stop()))
    await close()
  }
  return {
    listen: (host, port) => {
      // Fastify hands `reusePort` on to Node, and its types lack it.
      const options = {
        host: host === 'localhost' ? loopback : host,
        port,
        reusePort,
        backlog: connectionsWaitingMax,
        listenTextResolver: (text: string) => text
      }
      const address = (front === null ? server.listen(options) : listenBehind(front)).then(url => {
        if (draining) return url
        for (const loop of loops) loop.start()
        worker.start()
        return url
      })
      listening = address.catch(() => {})
      return address
    },
    drain: async (delayMs = drainDelayMs) => {
      draining = true
      onDraining()
      // It begins no run from now on, and those under way have the delay, too.
      const workerStopped = worker.stop(delayMs + drainGraceMs)
      if (delayMs > 0) await pause(delayMs)
      onClosing()
      await listening
      const listener = front?.server ?? server
      // A client that stops reading its response would keep the process alive for ever.
      const patience = setTimeout(() => { listener.server.closeAllConnections() }, drainGraceMs)
      await Promise.all([listener.close(), workerStopped])
      clearTimeout(patience)
      if (front !== null) await server.close()
      await finish()
    },
    close: async () => {
      await pause(drainGraceMs)
      if (front !== null) await server.close()
      await finish()
    }
  }
}
