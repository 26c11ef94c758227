import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mintToken } from '../../src/cli/connection.ts'
import { createClient } from '../../src/client/client.ts'
import { freePort } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import type { Image } from './build.ts'
import { runIn, startIn } from './root.ts'

/*
 * A process of the image.
 */

const secret = 'a-key-that-only-this-check-knows-0123456789'

/** A running container. */
export type Container = {
  url: string
  pid: number
  lines: string[]
  client: ReturnType<typeof createClient>
  /** The exit code of its HEALTHCHECK. */
  health: () => number | null
  /** Runs another command inside. */
  exec: (...command: string[]) => { status: number | null, output: string }
  /** Sends the stop signal; resolves with the exit code. */
  stop: () => Promise<number | null>
  kill: () => void
}

/** The token of a client with every scope. */
export const token = (): string =>
  mintToken(secret, { sub: 'check', scope: 'jobs:read jobs:write jobs:work jobs:admin' }, 3600)

/** Starts the image with this environment beside its own, and waits for nothing. */
export const startContainer = async (
  { setting, command, health, stopSignal }: Image, more: Record<string, string> = {}
): Promise<Container> => {
  const port = await freePort()
  const env = { ...setting.env, JWT_SECRET: secret, PORT: String(port), ...more }
  const inside = { ...setting, env }
  const { child, pid } = await startIn(inside, command)
  const lines: string[] = []
  let rest = ''
  const read = (data: Buffer): void => {
    const parts = (rest + String(data)).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts)
  }
  child.stdout?.on('data', read)
  child.stderr?.on('data', read)
  const exit = once(child, 'exit') as Promise<[number | null]>
  const url = `http://127.0.0.1:${port}`
  return {
    url,
    pid,
    lines,
    client: createClient({ url, token }),
    health: () => runIn(inside, health).status,
    exec: (...words) => runIn({ ...inside, env: { ...env, JOB_STATUS_URL: url, JOB_STATUS_TOKEN: token() } }, words),
    stop: async () => {
      process.kill(pid, stopSignal)
      return (await exit)[0]
    },
    kill: () => { child.kill('SIGKILL') }
  }
}

/** Waits until it is ready. */
export const isReady = async ({ url, lines, pid }: Container): Promise<Record<string, Record<string, unknown>>> =>
  await until(async () => {
    if (!existsSync(`/proc/${pid}`)) throw new Error(`it ended: ${lines.join('\n')}`)
    const answer = await fetch(`${url}/readyz`).catch(() => undefined)
    return answer?.ok === true && await answer.json() as Record<string, Record<string, unknown>>
  }, 'the service')
