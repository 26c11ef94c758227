import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'

// Of a connection and a message, which are this app's own.
const ownHeaders = ['connection', 'content-length', 'date', 'keep-alive', 'transfer-encoding']

/**
 * Serves the OpenAPI document at /openapi.json and /docs, with the page. It describes the routes that are added from now
 * on. Most processes are never asked for it, and it would be a tenth of what each loads before its first response: so
 * the first request makes an app of its own, which answers this one.
 */
export const registerDocumentation = (app: FastifyInstance, publicUrl: string | null): void => {
  const routes: Array<Pick<RouteOptions, 'method' | 'url' | 'schema'>> = []
  const schemas = new Map<string, unknown>()
  let documentation: Promise<FastifyInstance> | undefined
  const open = async (): Promise<FastifyInstance> => {
    const { createDocumentation } = await import('../openapi/document.ts')
    return await createDocumentation({ routes, schemas: [...schemas.values()], publicUrl })
  }
  const answer = async ({ raw: { url = '/' }, headers }: FastifyRequest, reply: FastifyReply) => {
    documentation ??= open()
    const { statusCode, headers: found, rawPayload } = await (await documentation).inject({ method: 'GET', url, headers })
    if (statusCode === 404) return reply.callNotFound()
    for (const [name, value] of Object.entries(found)) if (!ownHeaders.includes(name)) reply.header(name, value)
    return reply.code(statusCode).send(rawPayload.length === 0 ? null : rawPayload)
  }
  for (const url of ['/openapi.json', '/docs', '/docs/*']) {
    app.get(url, { config: { public: true }, schema: { hide: true } }, answer)
  }
  app.addHook('onRoute', function ({ method, url, schema }) {
    if (method === 'HEAD' || schema === undefined) return
    routes.push({ method, url, schema })
    // Those of the plugin that the route belongs to, too.
    for (const [name, named] of Object.entries(this.getSchemas())) schemas.set(name, named)
  })
}
