import type { TSchema } from '@sinclair/typebox'
import { Ajv, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'

const options = {
  allErrors: true, useDefaults: true, removeAdditional: false, strict: false, discriminator: true
} as const

/** At most so many broken rules of one value are reported. */
export const violationsReportedMax = 20

/** One broken rule, as Ajv reports it. */
export type Violation = { instancePath: string, keyword: string, message?: string, params: Record<string, unknown> }

/** A schema compiler with the formats of JSON Schema; `coerceTypes`: text is read as the type that the schema names. */
export const createAjv = (coerceTypes: boolean): Ajv => {
  const ajv = new Ajv({ ...options, coerceTypes })
  // The package's default export arrives one level deeper under Node's CommonJS interop.
  formats.default(ajv)
  return ajv
}

// One for all checks: before its first schema an Ajv compiles the schema of schemas, which costs some 20 ms.
const ajv = createAjv(false)

/** Compiles the check of a schema, without coercion; the check returns the rules that a value breaks. */
export const createCheck = (schema: TSchema): ((value: unknown) => Violation[]) => {
  const check: ValidateFunction = ajv.compile(schema)
  return value => check(value) ? [] : (check.errors ?? []).slice(0, violationsReportedMax)
}
