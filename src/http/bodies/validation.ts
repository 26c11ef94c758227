import type { TSchema } from '@sinclair/typebox'
import type { ValidateFunction } from 'ajv'
import type { FastifySchemaCompiler, FastifySchemaValidationError } from 'fastify'
import { removeNulls } from '../../job/optional.ts'
import { createAjv, createCheck, type Violation } from '../../schema-check.ts'

const checkAfter = (
  prepare: (value: object) => void, check: ValidateFunction
): ReturnType<FastifySchemaCompiler<TSchema>> => (value: object) => {
  prepare(value)
  return check(value) ? {} : { error: check.errors as FastifySchemaValidationError[] }
}

// Pages and libraries add a parameter `_` to get past caches, whatever the route.
const removeCacheBuster = (query: object): void => { Reflect.deleteProperty(query, '_') }

/**
 * Validates bodies without type coercion: coercion turns null into 0 and [5] into 5. Paths, queries and headers arrive
 * as text, so there it is on. A member of a body that is null and may be left out is removed. Bodies that are not JSON
 * reach their routes as streams, and are not validated.
 */
export const createValidatorCompiler = (): FastifySchemaCompiler<TSchema> => {
  const ajvOf = { body: createAjv(false), text: createAjv(true) }
  return ({ schema, httpPart, contentType = 'application/json' }) => {
    if (httpPart === 'querystring') return checkAfter(removeCacheBuster, ajvOf.text.compile(schema))
    if (contentType !== 'application/json') return () => true
    if (httpPart !== 'body') return ajvOf.text.compile(schema) as ReturnType<FastifySchemaCompiler<TSchema>>
    return checkAfter(body => { removeNulls(schema, body) }, ajvOf.body.compile(schema))
  }
}

/** Compiles the check of an input within a body, which removes what `removeNulls` does. */
export const createInputCheck = (schema: TSchema): ((input: unknown) => Violation[]) => {
  const check = createCheck(schema)
  return input => {
    removeNulls(schema, input)
    return check(input)
  }
}
