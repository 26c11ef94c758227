import type { TSchema } from '@sinclair/typebox'
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'

const options = {
  allErrors: true,
  useDefaults: true,
  removeAdditional: false,
  strict: false,
  discriminator: true,
  // All schemas are ours, and tests check them. To compile the schema of schemas takes 20 ms, before the first of ours.
  meta: false,
  validateSchema: false,
  // The optimizer takes a fifth of the time of a compilation, and the checks are as fast without it.
  code: { optimize: false }
} as const

/** At most so many broken rules of one value are reported. */
export const violationsReportedMax = 20

/** One broken rule, as Ajv reports it. */
export type Violation = { instancePath: string, keyword: string, message?: string, params: Record<string, unknown> }

// The package's default export arrives one level deeper under Node's CommonJS interop.
const addFormats = formats.default

// The form in which the service itself writes times, but for leap days. The package takes three expressions and ten
// strings to examine one.
const ownDate = '\\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)'
const ownTime = new RegExp(`^${ownDate}T(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d\\.\\d{3}Z$`)
const { validate: isDateTime } = addFormats.get('date-time') as { validate: (text: string) => boolean }

/** A schema compiler with the formats of JSON Schema; `coerceTypes`: text is read as the type that the schema names. */
export const createAjv = (coerceTypes: boolean): Ajv => {
  const ajv = new Ajv({ ...options, coerceTypes })
  addFormats(ajv)
  ajv.addFormat('date-time', text => ownTime.test(text) || isDateTime(text))
  return ajv
}

/**
 * A check that gives the rules that a value breaks. It is compiled with its first value: compiled at the start, the
 * schemas of all routes took a sixth of its CPU, and a process uses few of them.
 */
export const checkWith = (ajv: Ajv, schema: TSchema): ((value: unknown) => ErrorObject[]) => {
  let check: ValidateFunction | undefined
  return value => {
    check ??= ajv.compile(schema)
    return check(value) ? [] : check.errors ?? []
  }
}

const ajv = createAjv(false)

/** The check of a schema, without coercion; it returns the rules that a value breaks. */
export const createCheck = (schema: TSchema): ((value: unknown) => Violation[]) => {
  const check = checkWith(ajv, schema)
  return value => check(value).slice(0, violationsReportedMax)
}
