import type { TSchema } from '@sinclair/typebox'

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
