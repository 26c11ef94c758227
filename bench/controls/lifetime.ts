import type { Server } from 'node:http'

/** Reads an environment variable; throws if it is unset or empty. */
export const setting = (name: string): string => {
  const value = process.env[name]
  if (value === undefined || value === '') throw new Error(`${name} is not set`)
  return value
}

/** The address on which each measured server listens; port 0 selects a free port. */
export const address = () => ({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0) })

/** Prints the URL for the process that started this one. */
export const announce = (url: string): void => { process.stdout.write(`${JSON.stringify({ url })}\n`) }

/** Exits with 0 on SIGTERM, after `close` is done. A repeated SIGTERM has no effect. */
export const endOnSigterm = (server: Server, close: () => Promise<unknown>): void => {
  let isEnding = false
  process.on('SIGTERM', () => {
    if (isEnding) return
    isEnding = true
    const closed = close()
    // No client waits for a response at this point, and open keep-alive connections would keep the process running.
    server.closeAllConnections()
    closed.then(() => process.exit(0), (error: unknown) => {
      console.error(error)
      process.exit(1)
    })
  })
}
