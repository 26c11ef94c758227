import type { Server } from 'node:http'

/** What the environment says; throws where it says nothing. */
export const setting = (name: string): string => {
  const value = process.env[name]
  if (value === undefined || value === '') throw new Error(`${name} is not set`)
  return value
}

/** Where every server that is measured listens; port 0 takes a free one. */
export const address = () => ({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0) })

/** Tells whoever started this process where to ask. */
export const announce = (url: string): void => { process.stdout.write(`${JSON.stringify({ url })}\n`) }

/** Ends the process with 0 on SIGTERM, once `close` is done; a repeated SIGTERM changes nothing. */
export const endOnSigterm = (server: Server, close: () => Promise<unknown>): void => {
  let isEnding = false
  process.on('SIGTERM', () => {
    if (isEnding) return
    isEnding = true
    const closed = close()
    // Nobody waits for an answer any more, and clients that keep their connections would hold the process.
    server.closeAllConnections()
    closed.then(() => process.exit(0), (error: unknown) => {
      console.error(error)
      process.exit(1)
    })
  })
}
