import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import createRouter from 'find-my-way'
import { ServiceFailure } from '../errors.ts'
import { noSuchRoute } from './problem.ts'
import { routeOf } from './route-of.ts'

// The plugin for CORS has one such route, for OPTIONS.
const anyPath = '*'

/** Whether no route has both the path and the method of the request. */
export const isUnrouted = (request: FastifyRequest): boolean => request.is404 || routeOf(request).url === anyPath

/** Ends an unrouted request: with its response, or with the failure that it passes on. */
export type RejectUnrouted = (request: FastifyRequest, reply: FastifyReply, done: (failure?: Error) => void) => void

export type UnroutedNeeds = {
  /** As in the options of the server. */
  paramLengthMax: number
  /** Whether OPTIONS is a method of every path. */
  hasOptions: boolean
}

/** To be called before routes are added: learns their methods. */
export const createRejectUnrouted = (
  app: FastifyInstance, { paramLengthMax: maxParamLength, hasOptions }: UnroutedNeeds
): RejectUnrouted => {
  const methodsOf = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const known = methodsOf.get(url) ?? new Set(hasOptions ? ['OPTIONS'] : [])
    methodsOf.set(url, new Set([...known, ...[method].flat()]))
  })
  // The same router as Fastify's, which finds a path only together with its method.
  let paths: ReturnType<typeof createRouter> | undefined
  const findMethods = (path: string): string[] => {
    if (paths === undefined) {
      paths = createRouter({ maxParamLength })
      for (const [url, methods] of methodsOf) if (url !== anyPath) paths.on('GET', url, () => {}, methods)
    }
    return [...paths.find('GET', path)?.store as Set<string> | undefined ?? []].toSorted()
  }

  return (request, reply, done) => {
    const methods = findMethods(request.url)
    if (methods.length === 0) return done(noSuchRoute())
    const allow = methods.join(', ')
    reply.header('allow', allow)
    if (hasOptions && request.method === 'OPTIONS') {
      reply.code(204).send()
      return
    }
    done(new ServiceFailure('METHOD_NOT_ALLOWED', `This path answers ${allow}.`))
  }
}
