import { Ajv, type ErrorObject } from 'ajv'
import formats from 'ajv-formats'
import { catalogue } from '../src/errors.ts'

/*
 * What a linter of OpenAPI documents does not see: parameters and bodies without an example that can be sent, examples
 * that break their own schema, and error codes that are not listed.
 */

type Schema = { $ref?: string, format?: string, enum?: string[], properties?: Record<string, Schema> }
type Example = { value: unknown }
type Content = Record<string, { schema: Schema, example?: unknown, examples?: Record<string, Example> }>
type Parameter = { name: string, in: string, required?: boolean, schema: Schema, example?: unknown }
type Response = { description: string, content?: Content }
type Operation = { parameters?: Parameter[], requestBody?: { content: Content }, responses: Record<string, Response> }

export type OpenApiDocument = {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}

type Find = (place: string, schema: Schema, value: unknown) => string[]

const createFindViolations = ({ components }: OpenApiDocument): Find => {
  const ajv = new Ajv({ strict: false, allErrors: true, formats: { binary: true } })
  formats.default(ajv)
  ajv.addSchema({ components }, 'document')
  const toText = ({ instancePath, message }: ErrorObject) => `${instancePath} ${message ?? 'is not valid'}`
  return (place, schema, value) => {
    // The references of the document are relative to it.
    const check = ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"document#/components')))
    return check(value) ? [] : (check.errors ?? []).map(error => `${place}: its example is not valid: ${toText(error)}`)
  }
}

const findInParameters = (place: string, { parameters = [] }: Operation, find: Find): string[] =>
  parameters.flatMap(({ name, required = false, schema, example }) => {
    if (example !== undefined) return find(`${place} ${name}`, schema, example)
    return required ? [`${place} ${name}: has no example`] : []
  })

// An example of bytes would help no client, and texts are as free as bytes.
const needsExample = (mediaType: string, { format }: Schema): boolean => format !== 'binary' && mediaType !== 'text/*'

const findInContent = (place: string, content: Content, find: Find): string[] =>
  Object.entries(content).flatMap(([mediaType, { schema, example, examples = {} }]) => {
    const here = `${place} ${mediaType}`
    const values = [...example === undefined ? [] : [example], ...Object.values(examples).map(({ value }) => value)]
    if (values.length === 0 && needsExample(mediaType, schema)) return [`${here}: has no example`]
    return values.flatMap(value => find(here, schema, value))
  })

const codesIn = (description: string): string[] =>
  [...description.matchAll(/`([A-Z_]+)`:/g)].map(([, code = '']) => code)

const findInFailure = (place: string, status: string, { description, content = {} }: Response): string[] => {
  const codes = codesIn(description)
  const wrong = codes.filter(code => String(catalogue[code as keyof typeof catalogue]?.status) !== status)
  const names = Object.values(content).map(({ schema }) => schema.$ref?.split('/').at(-1) ?? 'no named schema')
  return [
    ...codes.length === 0 ? [`${place}: names no error code`] : [],
    ...wrong.map(code => `${place}: ${code} is no code of this status`),
    ...names.filter(name => name !== 'Problem' && name !== 'TaskError').map(name => `${place}: the body is ${name}`)
  ]
}

const findInResponses = (place: string, { responses }: Operation, find: Find): string[] =>
  Object.entries(responses).flatMap(([status, response]) => {
    const here = `${place} ${status}`
    // A service that is not ready answers 503 with its state.
    const isFailure = status.startsWith('4') || (status.startsWith('5') && codesIn(response.description).length > 0)
    return isFailure ? findInFailure(here, status, response) : findInContent(here, response.content ?? {}, find)
  })

const findInCodes = ({ components: { schemas } }: OpenApiDocument): string[] => {
  const listed = schemas.ErrorCode?.enum ?? []
  const missing = Object.keys(catalogue).filter(code => !listed.includes(code))
  const fields = [schemas.Problem?.properties?.code, schemas.TaskError?.properties?.error?.properties?.code]
  return [
    ...missing.map(code => `ErrorCode: ${code} is missing`),
    ...fields.some(field => field?.$ref !== '#/components/schemas/ErrorCode') ? ['an error has a code of no type'] : []
  ]
}

/** Every fault of the document, as a line of text. */
export const findOpenApiFaults = (document: OpenApiDocument): string[] => {
  const find = createFindViolations(document)
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ place: `${method.toUpperCase()} ${path}`, operation })))
  return [
    ...findInCodes(document),
    ...operations.flatMap(({ place, operation }) => [
      ...findInParameters(place, operation, find),
      ...findInContent(`${place} body`, operation.requestBody?.content ?? {}, find),
      ...findInResponses(place, operation, find)
    ])
  ]
}
