import { Ajv } from 'ajv'
import formats from 'ajv-formats'
import type { Json } from '../../helpers/client.ts'
import { type Exchanged, type RawAnswer, valuesOf } from '../../helpers/raw-http.ts'
import type { FuzzRequest, Operation } from './requests.ts'

/*
 * Whether an answer is one that the OpenAPI document promises.
 */

const plainHeaders = new Set([
  'date', 'connection', 'keep-alive', 'content-type', 'content-length', 'transfer-encoding', 'accept-ranges'
])

// Of what never becomes a request, and of methods and paths that there are not.
const statusesOfTheProtocol = [400, 408, 417, 431]

const leaks =
  /\n\s+at |\bat [^ ]+ \(?(?:file|node):|node_modules|SqliteError|SQLITE_|\bFST_|[A-Za-z]*Error: |undefined is not|is not a function|\[object Object\]/

export type Judge = {
  /** What is wrong with an answer to one request; undefined where nothing is. */
  judge: (request: FuzzRequest, exchanged: Exchanged) => string | undefined
  /** What is wrong with an answer to who knows what. */
  judgeAny: (answer: RawAnswer) => string | undefined
  /** How often each route answered each status. */
  met: Map<string, number>
}

const decodes = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export const createJudge = (document: Json, operations: readonly Operation[]): Judge => {
  const ajv = new Ajv({ strict: false, allErrors: true, formats: { binary: true } })
  formats.default(ajv)
  ajv.addSchema(document, 'openapi')
  const pointer = (
    ...steps: string[]
  ) => `openapi#/${steps.map(step => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`
  const faultsOf = (value: unknown, ...steps: string[]): string | undefined => {
    const check = ajv.getSchema(pointer(...steps)) ?? ajv.compile({ $ref: pointer(...steps) })
    return check(value) ? undefined : JSON.stringify(check.errors?.slice(0, 3))
  }
  const routes = operations.map(operation => ({
    operation, pattern: new RegExp(`^${operation.path.replace(/\{\w+\}/, '[^/]*')}$`)
  }))
  const met = new Map<string, number>()

  // The same path may be that of two operations, like the list and a submission.
  const findOperation = ({ method, target }: FuzzRequest): Operation | undefined => {
    const path = target.split(/[?#]/, 1)[0] ?? ''
    const wanted = method === 'HEAD' ? 'GET' : method
    return routes.find(({
      operation, pattern
    }) => operation.method === wanted && (pattern.test(path) || pattern.test(decodes(path))))?.operation
  }

  const parse = (answer: RawAnswer): { value: unknown } | { fault: string } => {
    try {
      return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(answer.body)) }
    } catch {
      return { fault: `no JSON: ${answer.body.toString('latin1').slice(0, 200)}` }
    }
  }

  const judgeAny = (answer: RawAnswer): string | undefined => {
    const { status, body } = answer
    if (status >= 500) return `a ${status}: ${body.toString().slice(0, 300)}`
    if (status >= 400 && leaks.test(body.toString())) return `a leak: ${body.toString().slice(0, 300)}`
    if (answer.headers.some(([name]) => name === 'set-cookie')) return 'a header that was not ours'
    return undefined
  }

  // What no operation answered: in one of the two shapes of failures.
  const judgeFailure = (answer: RawAnswer, isHead: boolean): string | undefined => {
    if (isHead || answer.body.length === 0) return undefined
    const parsed = parse(answer)
    if ('fault' in parsed) return parsed.fault
    const problem = faultsOf(parsed.value, 'components', 'schemas', 'Problem')
    return problem === undefined || faultsOf(parsed.value, 'components', 'schemas', 'TaskError') === undefined
      ? undefined
      : `no failure as documented: ${problem}`
  }

  const judgeBody = (answer: RawAnswer, operation: Operation, content: Json): string | undefined => {
    // Bytes of a client, under the type that it declared: there may be none, and what is declared as JSON may be no JSON.
    if (Object.hasOwn(content, '*/*')) return undefined
    if (answer.body.length === 0) {
      return Object.keys(content).length > 0 ? 'a body is documented, and there is none' : undefined
    }
    const mediaType = (valuesOf(answer, 'content-type')[0] ?? '').split(';')[0] ?? ''
    if (!Object.hasOwn(content, mediaType)) return `${mediaType} is not documented`
    if (!mediaType.endsWith('json')) return undefined
    const parsed = parse(answer)
    if ('fault' in parsed) return parsed.fault
    if (answer.status < 300 && Object.hasOwn(Object(parsed.value), 'error')) {
      return 'a top-level error in an answer that is none'
    }
    return faultsOf(
      parsed.value, 'paths', operation.path, operation.method.toLowerCase(), 'responses', String(answer.status),
      'content', mediaType, 'schema'
    )
  }

  const judgeAnswer = (request: FuzzRequest, answer: RawAnswer): string | undefined => {
    const { status } = answer
    const isHead = request.method === 'HEAD'
    const operation = findOperation(request)
    const fault = judgeAny(answer)
    const key = `${operation === undefined ? 'no route' : `${operation.method} ${operation.path}`} ${status}`
    met.set(key, (met.get(key) ?? 0) + 1)
    if (fault !== undefined) return fault
    if (operation === undefined) {
      // The document itself and its pages are none of its routes.
      if (status < 400) return `a ${status} where there is no route`
      // 415: a Content-Encoding is rejected on every route.
      return [401, 404, 405, 415, ...statusesOfTheProtocol].includes(status)
        ? judgeFailure(
          answer, isHead
        )
        : `a ${status} where there is no route`
    }
    const documented = operation.definition.responses[status]
    if (documented === undefined) {
      return statusesOfTheProtocol.includes(status) ? judgeFailure(answer, isHead) : `${status} is not documented`
    }
    // A rejection on the bare socket has no headers of a route.
    const names = Object.keys(documented.headers ?? {}).map(name => name.toLowerCase())
    const unknown = answer.headers.map(([name]) => name).filter(
      name => !plainHeaders.has(name) && !names.includes(name)
    )
    if (unknown.length > 0) return `the headers ${unknown.join()} are not documented`
    return isHead ? undefined : judgeBody(answer, operation, documented.content ?? {})
  }

  return {
    met,
    judgeAny,
    judge: (request, exchanged) => {
      switch (exchanged.kind) {
        case 'silent': return `no answer, but ${exchanged.bytes.length} bytes`
        case 'malformed': return `an answer that is no HTTP: ${exchanged.reason}`
        case 'closed': return 'closed without an answer'
        case 'answered': return exchanged.more.length > 0
          ? `more than one answer: ${exchanged.more.toString('latin1').slice(0, 200)}`
          : judgeAnswer(request, exchanged.answer)
      }
    }
  }
}
