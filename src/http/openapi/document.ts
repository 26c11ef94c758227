import fastifySwagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type RouteOptions } from 'fastify'
import { pathOf } from '../problem.ts'

const description = `The status and the results of asynchronous jobs.

Submit a job, then poll its status: wait for \`Retry-After\`, and send the last \`ETag\` in \`If-None-Match\`.
Reads never go backward: once any client has seen a version of a job, no later response is older.`

type SwaggerDocument = Parameters<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>[0]

// The plugin marks every body as required. A body whose members are all optional can be left out.
const toOptionalBodies: NonNullable<FastifyDynamicSwaggerOptions['transformObject']> = (document: SwaggerDocument) => {
  if (!('openapiObject' in document)) return document.swaggerObject
  const { openapiObject } = document
  for (const { post } of Object.values(openapiObject.paths ?? {}).filter(path => path !== undefined)) {
    if (post?.requestBody === undefined || !('content' in post.requestBody)) continue
    const { schema } = post.requestBody.content['application/json'] ?? {}
    if (schema === undefined || !('properties' in schema) || schema.required !== undefined) continue
    post.requestBody.required = false
  }
  return openapiObject
}

// References of the page are relative, since a proxy may serve it under the path of PUBLIC_URL; the plugin's own redirect
// is not, and it takes /docs/?x for a page without the slash.
const redirectToPage = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
  const path = pathOf(request.originalUrl)
  if (path.endsWith('/static/index.html')) void reply.redirect('../')
  else if (path.endsWith('/') && request.originalUrl.includes('?')) void reply.redirect('./')
  else done()
}

const toOpenApi = (publicUrl: string | null): FastifyDynamicSwaggerOptions => ({
  openapi: {
    openapi: '3.0.3',
    info: {
      title: 'Job status service',
      description,
      version: '0.1.0',
      contact: { name: 'The operators of this service' },
      license: { name: 'MIT', url: 'https://opensource.org/license/mit' }
    },
    servers: [{ url: publicUrl ?? '/' }],
    tags: [
      { name: 'Jobs', description: 'The v1 view.' },
      { name: 'Tasks', description: 'The task view: the same jobs in an envelope.' },
      { name: 'Sanitize', description: 'Removes active and invisible content, at once or as a job.' },
      { name: 'Workers', description: 'For programs that run jobs.' },
      { name: 'Operations', description: 'For operators.' }
    ],
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
    security: [{ bearer: [] }]
  },
  transformObject: toOptionalBodies,
  refResolver: {
    buildLocalReference: (json, _baseUri, _fragment, index) =>
      typeof json.$id === 'string' ? json.$id : `schema${index}`
  }
})

/** `schemas`: those that the routes refer to, in the order in which the document has them. */
export type DocumentationNeeds = {
  routes: readonly Pick<RouteOptions, 'method' | 'url' | 'schema'>[]
  schemas: readonly unknown[]
  publicUrl: string | null
}

/**
 * An app that describes routes, at /openapi.json and on the page under /docs, and answers nothing else. The schemas that
 * validate and serialize generate the document.
 */
export const createDocumentation = async (
  { routes, schemas, publicUrl }: DocumentationNeeds
): Promise<FastifyInstance> => {
  const app = fastify()
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => JSON.stringify)
  for (const schema of schemas) app.addSchema(schema)
  await app.register(fastifySwagger, toOpenApi(publicUrl))
  for (const route of routes) app.route({ ...route, handler: (_request, reply) => { reply.callNotFound() } })
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger())
  await app.register(fastifySwaggerUi, {
    routePrefix: '/docs',
    // The plugin's own policy allows other hosts, and makes browsers load the page's files over https only.
    staticCSP: "default-src 'self'; base-uri 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'",
    indexPrefix: '.',
    uiHooks: { onRequest: redirectToPage },
    uiConfig: { url: './json', deepLinking: true, persistAuthorization: false }
  })
  await app.ready()
  return app
}
