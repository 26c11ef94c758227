import { type Static, type TSchema, Type } from '@sinclair/typebox'

/**
 * A member of a request that may be left out. Null counts as left out: `removeNulls` removes it before the schema is
 * checked. In OpenAPI 3.0 the enum of a nullable member must name null too.
 */
export const OptionalOrNull = <Schema extends TSchema>(schema: Schema) => {
  const values = schema.enum as unknown[] | undefined
  const withNull = { ...schema, nullable: true, ...(values === undefined ? {} : { enum: [...values, null] }) }
  return Type.Optional(Type.Unsafe<Static<Schema>>(withNull))
}

type ObjectSchema = { properties?: Record<string, TSchema>, required?: string[] }

/** Removes each member that is null and that the schema declares with `OptionalOrNull`, in nested objects too. */
export const removeNulls = (schema: TSchema, value: unknown): void => {
  const { properties, required = [] } = schema as ObjectSchema
  if (properties === undefined || typeof value !== 'object' || value === null) return
  const members = value as Record<string, unknown>
  for (const [name, member] of Object.entries(properties)) {
    if (!Object.hasOwn(members, name)) continue
    if (members[name] !== null) removeNulls(member, members[name])
    else if (member.nullable === true && !required.includes(name)) delete members[name]
  }
}
