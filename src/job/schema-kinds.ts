import { type Static, type TSchema, Type } from '@sinclair/typebox'

/*
 * Apart from what is done with jobs and inputs: the thread of a processor does that too, and loads no TypeBox.
 */

/** One `enum` in JSON Schema, where a union of literals would become an anyOf of one-value enums. */
export const StringEnum = <const Values extends readonly string[]>(values: Values, options: object = {}) =>
  Type.Unsafe<Values[number]>({ type: 'string', enum: [...values], ...options })

/** Either the schema or null, as OpenAPI 3.0 can say it. */
export const Nullable = <Schema extends TSchema>(schema: Schema) =>
  Type.Unsafe<Static<Schema> | null>({ ...schema, nullable: true })

/**
 * A member of a request that may be left out. Null counts as left out: `removeNulls` removes it before the schema is
 * checked. In OpenAPI 3.0 the enum of a nullable member must name null too.
 */
export const OptionalOrNull = <Schema extends TSchema>(schema: Schema) => {
  const values = schema.enum as unknown[] | undefined
  const withNull = { ...schema, nullable: true, ...(values === undefined ? {} : { enum: [...values, null] }) }
  return Type.Optional(Type.Unsafe<Static<Schema>>(withNull))
}
