import { type Static, type TSchema, Type } from '@sinclair/typebox'

/*
 * The documented contents of bodies, by media type.
 */

/** One of the examples of a body. It is valid, and a request with it works as it stands. */
export type Example = { summary: string, value: unknown }

/** The schema of a request body with examples, by name. */
export const withExamples = <Schema extends TSchema>(schema: Schema, examples: Record<string, Example>) =>
  // An OpenAPI 3.0 schema cannot hold several examples; @fastify/swagger moves `x-examples` beside it.
  Type.Unsafe<Static<Schema>>({ ...schema, 'x-examples': examples })

const bytes = { schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary' }) }

/** Bytes of any media type; those of a type that the client does not know travel under the first. */
export const anyBytes = { 'application/octet-stream': bytes, '*/*': bytes }

/**
 * Bytes of the media type that their sender declared. Generated clients read a body by its documented media types:
 * under the wildcard alone JSON would be bytes, too.
 */
export const anyContent = {
  'application/json': {
    schema: Type.Unknown({ description: 'What its sender declared as JSON; the service does not check it.' }),
    examples: { json: { summary: 'JSON', value: { rows: 10_000 } } }
  },
  'application/octet-stream': bytes,
  'text/*': { schema: Type.String() },
  '*/*': bytes
}

/** A stream of server-sent events; `example` is one of them, as text. */
export const eventStream = (example: string) => ({
  'text/event-stream': { schema: Type.String(), examples: { event: { summary: 'One event', value: example } } }
})
