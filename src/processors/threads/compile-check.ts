import type { TSchema } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import standalone from 'ajv/dist/standalone/index.js'

// All schemas are ours, and tests check them.
const ajv = new Ajv({
  allErrors: true, strict: false, meta: false, validateSchema: false, code: { source: true, optimize: false }
})
const codes = new WeakMap<TSchema, string>()

/**
 * The check of a schema as the code of a CommonJS module. A thread that loads Ajv to compile it itself spends more time
 * on that than on the start of Node.
 */
export const compileCheck = (schema: TSchema): string => {
  // The package's default export arrives one level deeper under Node's CommonJS interop.
  const code = codes.get(schema) ?? standalone.default(ajv, ajv.compile(schema))
  codes.set(schema, code)
  return code
}
