import fastifySwagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'

const description = `How is my asynchronous job doing, and where is its result?

Submit a job, then ask for its status no sooner than \`Retry-After\` says, with the last \`ETag\` in \`If-None-Match\`.
What it tells of a job never goes backward: a newer version is never followed by an older one.`

type SwaggerDocument = Parameters<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>[0]

// The plugin calls every body required, also one of which every member may be left out, and so the whole.
const toOptionalBodies: NonNullable<FastifyDynamicSwaggerOptions['transformObject']> = (document: SwaggerDocument) => {
  if (!('openapiObject' in document)) return document.swaggerObject
  const { openapiObject } = document
  for (const { post } of Object.values(openapiObject.paths ?? {}).filter(path => path !== undefined)) {
    if (post?.requestBody === undefined || !('content' in post.requestBody)) continue
    const { schema } = post.requestBody.content['application/json'] ?? {}
    if (schema !== undefined && 'properties' in schema && schema.required === undefined) post.requestBody.required = false
  }
  return openapiObject
}

/** Registers the OpenAPI document, made from the schemas that validate and serialize, at /openapi.json and /docs. */
export const registerOpenApi = async (app: FastifyInstance, publicUrl: string | null): Promise<void> => {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.0.3',
      info: {
        title: 'Job status service',
        description,
        version: '0.1.0',
        license: { name: 'MIT', url: 'https://opensource.org/license/mit' }
      },
      servers: [{ url: publicUrl ?? '/' }],
      tags: [
        { name: 'Jobs', description: 'The v1 view.' },
        { name: 'Tasks', description: 'The same jobs in an envelope.' },
        { name: 'Sanitize', description: 'Contents made harmless, at once or as a job.' },
        { name: 'Workers', description: 'For whoever runs jobs.' },
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
  app.get('/openapi.json', { config: { public: true }, schema: { hide: true } }, () => app.swagger())
  await app.register(fastifySwaggerUi, {
    routePrefix: '/docs',
    // The plugin's own policy would let in other hosts, and have browsers fetch the page's parts by https alone.
    staticCSP: "default-src 'self'; base-uri 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'",
    uiConfig: { url: '/openapi.json', deepLinking: true, persistAuthorization: false }
  })
}
