import type { TSchema } from '@sinclair/typebox'
import type { FastifySchemaCompiler } from 'fastify'
import { createAjv } from '../../schema-check.ts'

/**
 * Validates bodies without type coercion: coercion turns null into 0 and [5] into 5. Paths, queries and headers arrive
 * as text, so there it is on. Bodies that are not JSON reach their routes as streams, and are not validated.
 */
export const createValidatorCompiler = (): FastifySchemaCompiler<TSchema> => {
  const ajvOf = { body: createAjv(false), text: createAjv(true) }
  return ({ schema, httpPart, contentType = 'application/json' }) => {
    if (contentType !== 'application/json') return () => true
    const ajv = httpPart === 'body' ? ajvOf.body : ajvOf.text
    return ajv.compile(schema) as ReturnType<FastifySchemaCompiler<TSchema>>
  }
}
