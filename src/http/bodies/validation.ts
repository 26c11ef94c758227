import type { TSchema } from '@sinclair/typebox'
import type { Ajv } from 'ajv'
import type { FastifySchemaCompiler, FastifySchemaValidationError, FastifyServerOptions } from 'fastify'
import { removeNulls } from '../../job/json/optional.ts'
import { checkWith, createAjv, createCheck, type Violation } from '../../schema-check.ts'

type Validator = ReturnType<FastifySchemaCompiler<TSchema>>
type CompilersFactory = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>
type ValidatorFactory = NonNullable<CompilersFactory['buildValidator']>

const toValidator = (ajv: Ajv, schema: TSchema, prepare: (value: object) => void = () => {}): Validator => {
  const check = checkWith(ajv, schema)
  return (value: object) => {
    prepare(value)
    const errors = check(value)
    return errors.length === 0 ? {} : { error: errors as FastifySchemaValidationError[] }
  }
}

// Pages and libraries add a parameter `_` to get past caches, whatever the route.
const removeCacheBuster = (query: object): void => { Reflect.deleteProperty(query, '_') }

/**
 * Validates bodies without type coercion: coercion turns null into 0 and [5] into 5. Paths, queries and headers arrive
 * as text, so there it is on. A member of a body that is null and may be left out is removed. Bodies that are not JSON
 * reach their routes as streams, and are not validated.
 *
 * A factory, not setValidatorCompiler: with that, Fastify compiles the schemas of a plugin that adds named ones with its
 * own validator, which is a twentieth of a start.
 */
export const createValidatorFactory = (): ValidatorFactory => {
  const ajvOf = { body: createAjv(false), text: createAjv(true) }
  const compile: FastifySchemaCompiler<TSchema> = ({ schema, httpPart, contentType = 'application/json' }) => {
    if (httpPart === 'querystring') return toValidator(ajvOf.text, schema, removeCacheBuster)
    if (contentType !== 'application/json') return () => true
    if (httpPart !== 'body') return toValidator(ajvOf.text, schema)
    return toValidator(ajvOf.body, schema, body => { removeNulls(schema, body) })
  }
  // Fastify's type knows no compiler that gets the part of the request.
  return (() => compile) as unknown as ValidatorFactory
}

/** Compiles the check of an input within a body, which removes what `removeNulls` does. */
export const createInputCheck = (schema: TSchema): ((input: unknown) => Violation[]) => {
  const check = createCheck(schema)
  return input => {
    removeNulls(schema, input)
    return check(input)
  }
}
