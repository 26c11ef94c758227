import type { Test } from 'tap'
import { type Client, type ClientOptions, createClient } from '../../src/client/client.ts'
import { platform } from '../../src/client/platform.ts'
import { type Environment, type Service, startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { type Proxy, startProxy } from '../torture/proxy.ts'

/** A request that the client sent, and what it was answered with: a status, or undefined where it was not. */
export type Sent = { method: string, path: string, status: number | undefined }

/** A client that keeps account of its requests. */
export const openClient = (url: string, options: Partial<ClientOptions> = {}): { client: Client, sent: Sent[] } => {
  const sent: Sent[] = []
  const client = createClient({
    url,
    token: token({ scope: 'jobs:read jobs:write jobs:work', expiresIn: 3_600_000 }),
    ...options,
    platform: {
      ...options.platform,
      fetch: async (target, init) => {
        const request: Sent = { method: init?.method ?? 'GET', path: (target as string).slice(url.length), status: undefined }
        sent.push(request)
        const answer = await (options.platform?.fetch ?? platform.fetch)(target, init)
        request.status = answer.status
        return answer
      }
    }
  })
  return { client, sent }
}

type Answer = (real: () => Promise<Response>) => Response | undefined | Promise<Response | undefined>

/** A client of which something on the way answers requests; undefined: the service answers this one. */
export const withAnswers = (url: string, answer: Answer): ReturnType<typeof openClient> => openClient(url, {
  platform: {
    fetch: async (target, init) => {
      const real = () => platform.fetch(target, init)
      return await answer(real) ?? await real()
    }
  }
})

/** A service behind a proxy, and a client of both. */
export const openBehindProxy = async (
  t: Test, env: Environment = {}
): Promise<{ service: Service, proxy: Proxy, url: string }> => {
  const service = await startService(t, { WORKERS: '0', ...env })
  const proxy = await startProxy(Number(new URL(service.url).port))
  t.teardown(proxy.close)
  return { service, proxy, url: `http://127.0.0.1:${proxy.port}` }
}
