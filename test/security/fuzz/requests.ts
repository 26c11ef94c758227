import type { Json } from '../../helpers/client.ts'
import { token } from '../../helpers/tokens.ts'
import type { Random } from '../../helpers/random.ts'
import { type Known, pickETag, pickKnown } from './known.ts'
import { anyText, jobTypes, spoil, spoilBytes, valueOf } from './values.ts'

/*
 * Requests as the OpenAPI document has them, most with something wrong somewhere; they name jobs, leases and tags that
 * earlier answers brought.
 */

export type Operation = { path: string, method: string, definition: Json }

/** One request: its method and target as sent, and its bytes. */
export type FuzzRequest = { method: string, target: string, bytes: Buffer }

const every = 'jobs:read jobs:write jobs:work'
const expiresIn = 24 * 3600_000
const bearers = [
  ...Array.from(
    { length: 30 }, (_, at) => `Bearer ${token({ tenant: at % 5 === 0 ? 'globex' : 'acme', scope: every, expiresIn })}`
  ),
  ...['jobs:read', 'jobs:write', 'jobs:work', `${every} jobs:admin`, ''].map(
    scope => `Bearer ${token({ tenant: 'acme', scope, expiresIn })}`
  ),
  'Bearer garbage', 'Basic eDp5', `Bearer ${token({ tenant: '\u4f1a\u793e', scope: every, expiresIn })}`
]

const oddIds = [
  '.', '..', '%2e%2e', 'a%2fb', '%00', '%', '%ZZ', '%ff', 'a%20b', '%0d%0aX:%20y', 'a'.repeat(128), 'a'.repeat(129),
  'a'.repeat(3000), '-', '~',
  "'--", '"', '*', 'a;b', 'a:b', '__proto__', 'constructor', '%F0%9F%92%A9', 'a,b', '$', '@', '', 'a//b', 'a?b', 'a#b'
]

const pathOf = ({ path }: Operation, known: Known, random: Random, leased: string | undefined): string => {
  const id = random.chance(0.85) ? leased ?? pickKnown(known.jobIds, random) : random.pick(oddIds)
  return path.replace(/\{\w+\}/, () => id)
}

const queryOf = ({ definition }: Operation, known: Known, random: Random): string => {
  const pairs = (definition.parameters ?? []).filter((parameter: Json) =>
    parameter.in === 'query' && random.chance(0.4)).map(({ name, schema }: Json) => {
    // A wait of most of a minute would look like a hang.
    if (name === 'wait') return `wait=${random.pick(['0', '0.01', '1e-9', '0.05', '-1', 'x', '', '%00', '0&wait=0'])}`
    if (random.chance(0.2)) {
      return `${name}=${random.pick(['', 'x', '-1', '1e9', 'true', '%00', '%', '%ff', '[]', '1&' + name + '=2', '9'.repeat(400), 'a,'.repeat(150), 'null', '2026-13-45', '%2B'])}`
    }
    if (name === 'ids') {
      return `ids=${Array.from({ length: 1 + random.below(5) }, () => random.pick(known.jobIds)).join()}`
    }
    if (name === 'cursor') return `cursor=${encodeURIComponent(random.pick(known.cursors))}`
    if (name === 'idPrefix') return `idPrefix=${random.pick(known.jobIds).slice(0, random.below(40))}`
    if (name === 'createdAfter' || name === 'createdBefore') {
      return `${name}=${random.pick(['2020-01-01', '2026-01-01T00:00:00Z', '2026-01-01%2012:00'])}`
    }
    if (name === 'type') return `type=${random.pick(jobTypes)}`
    return `${name}=${encodeURIComponent(String(valueOf(schema, random)))}`
  })
  if (random.chance(0.05)) {
    pairs.push(
      random.pick(['__proto__[a]=1', 'more=1', '=', '&&', '%00=1', 'fresh=true', 'wait=0', '_=1', '?', 'x'.repeat(2000)])
    )
  }
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}

const mediaTypes = [
  'application/json', 'application/json; charset=utf-8', 'text/plain', 'text/html', 'application/x-ndjson',
  'application/octet-stream', 'application/json; charset=latin1', 'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x', 'x', '', 'application/', 'application/JSON;', 'image/svg+xml'
]

// A claim may wait for most of a minute: that is no hang.
const withoutWaiting = (value: Json): unknown => {
  if (typeof value?.wait !== 'number' || !(value.wait > 0.01)) return value
  return { ...value, wait: value.wait <= 55 ? 0.01 : value.wait }
}

const bodyOf = ({ definition }: Operation, random: Random): { type: string | undefined, bytes: Buffer } => {
  const content: Json = definition.requestBody?.content
  if (content === undefined) {
    return {
      type: random.chance(0.5) ? 'application/json' : undefined,
      bytes: Buffer.from(
        random.pick(['', '', '{}', '{}', '{"a":1}', 'x', '[]', ' '])
      )
    }
  }
  const type = random.pick(Object.keys(content))
  if (type !== 'application/json') {
    const bytes = Buffer.from(random.chance(0.05)
      ? 'x'.repeat(random.below(400_000))
      : random.pick([
        '', 'abc', '{"a":1}\n{"b":"<i>x</i>"}\n', '<p onclick=x>y</p>', anyText(random)
      ]))
    return {
      type: type === '*/*'
        ? random.pick(
          mediaTypes.slice(0, 6)
        )
        : type,
      bytes: random.chance(0.1) ? spoilBytes(bytes, random) : bytes
    }
  }
  const examples = Object.values<Json>(content[type].examples ?? {})
  const value = examples.length > 0 && random.chance(0.25)
    ? random.pick(examples).value
    : valueOf(content[type].schema, random)
  const text = JSON.stringify(withoutWaiting(random.chance(0.3) ? spoil(value, random) : value)) ?? ''
  const bytes = Buffer.from(random.chance(0.01) ? text.padEnd(1_200_000) : text)
  return { type, bytes: random.chance(0.1) && !text.includes('"wait"') ? spoilBytes(bytes, random) : bytes }
}

const oddHeaders: Array<(known: Known, random: Random, target: string) => [string, string]> = [
  (known, random, target) => [
    'if-none-match', random.pick([pickETag(known, target, random), '*', 'W/"x", "y"', '"', ',,,', 'x'.repeat(3000), '""'])
  ],
  (_, random) => [
    'range', random.pick([
      'bytes=0-0', 'bytes=1-', 'bytes=-5', 'bytes=5-1', 'bytes=0-1,3-4', 'bytes=9999999999999999999-', 'items=1-2',
      'bytes=', 'x'
    ])
  ],
  (known, random, target) => [
    'if-range', random.pick([pickETag(known, target, random), 'x', 'Sat, 01 Jan 2000 00:00:00 GMT'])
  ],
  (_, random) => [
    'accept', random.pick([
      'application/json', 'application/problem+json', '*/*', 'text/html;q=0.9', 'application/problem+json;q=0', ';;;',
      'application/json;q=abc, */*;q=2', 'x'.repeat(2000)
    ])
  ],
  (_, random) => ['content-encoding', random.pick(['gzip', 'identity', 'br', ''])],
  (_, random) => ['x-request-id', random.pick(['abc', 'a b', '\u00e4', 'x'.repeat(500), '$' + '{jndi:ldap://x}'])],
  (_, random) => ['idempotency-key', random.pick(['k', '', ' ', 'x'.repeat(256), 'a b', '\u00e4', 'key-1'])],
  (known, random) => [
    'lease-token', random.pick([random.pick(known.leases).leaseToken, '', 'x'.repeat(300), "' OR 1=1"])
  ],
  (_, random) => [
    'content-disposition', random.pick([
      'attachment; filename="a.html"', 'attachment; filename="../../x"', "attachment; filename*=UTF-8''%0d%0aa",
      'attachment; filename="' + 'x'.repeat(1000) + '"', '\u00e4', ''
    ])
  ],
  (_, random) => ['prefer', random.pick(['wait=0', 'respond-async, wait=0', 'wait=x', 'respond-async', 'x'])],
  (_, random) => ['origin', random.pick(['https://evil.example', 'null'])],
  () => ['x-http-method-override', 'DELETE'], () => ['x-forwarded-host', 'evil.example'], () => [
    'x-forwarded-for', '127.0.0.1'
  ], () => ['cookie', 'token=x'], () => ['expect', '100-continue'], () => ['te', 'trailers'],
  (_, random) => ['connection', random.pick(['close', 'keep-alive', 'x'])],
  (_, random) => [`x-${random.below(1000)}`, 'y'.repeat(random.below(3000))]
]

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND']

// What leads a job through its life: without it the other operations answer 404 and 409 alone.
const leading = [
  'POST /api/v1/jobs', 'POST /api/v1/worker/claim', 'POST /api/v1/worker/jobs/{jobId}/progress',
  'PUT /api/v1/worker/jobs/{jobId}/result', 'POST /api/v1/worker/jobs/{jobId}/complete'
]
const isLeading = ({ path, method }: Operation) => leading.includes(`${method} ${path}`)

/** The next request, and which operation it was meant for. */
export const nextRequest = (operations: readonly Operation[], known: Known, random: Random): FuzzRequest => {
  const operation = random.pick(random.chance(0.2) ? operations.filter(isLeading) : operations)
  const lease = operation.path.startsWith('/api/v1/worker/jobs') && random.chance(0.8)
    ? pickKnown(known.leases, random)
    : undefined
  const target = pathOf(operation, known, random, lease?.jobId) + queryOf(operation, known, random)
  const method = random.chance(0.08)
    ? random.pick(methods)
    : operation.method === 'GET' && random.chance(0.2) ? 'HEAD' : operation.method
  const headers = new Map<string, string>([['host', 'x']])
  if (random.chance(0.98)) headers.set('authorization', random.pick(bearers))
  if (lease !== undefined) headers.set('lease-token', lease.leaseToken)
  const body = operation.method === 'GET' && random.chance(0.98)
    ? {
        type: undefined, bytes: Buffer.alloc(0)
      }
    : bodyOf(operation, random)
  const type = random.chance(0.05) ? random.pick(mediaTypes) : body.type
  if (type !== undefined) headers.set('content-type', type)
  for (const { in: place, name, schema } of operation.definition.parameters ?? []) {
    if (place !== 'header' || headers.has(name) || !random.chance(name === 'if-none-match' ? 0.5 : 0.2)) continue
    const value = name === 'if-none-match' || name === 'if-match'
      ? random.pick([
        '*', pickETag(known, target, random)
      ])
      : String(valueOf(schema, random)).replace(/\p{Cc}/gu, '')
    headers.set(name, Buffer.from(value).toString('latin1'))
  }
  while (random.chance(0.25)) headers.set(...random.pick(oddHeaders)(known, random, target))
  const lines = Array.from(headers, ([name, value]) => `${name}: ${value}`)
  const isChunked = body.bytes.length > 0 && random.chance(0.1)
  if (isChunked) lines.push('transfer-encoding: chunked')
  else if (body.bytes.length > 0 || operation.method !== 'GET') lines.push(`content-length: ${body.bytes.length}`)
  const framed = isChunked
    ? [
        Buffer.from(`${body.bytes.length.toString(16)}\r\n`), body.bytes, Buffer.from('\r\n0\r\n\r\n')
      ]
    : [body.bytes]
  const head = Buffer.from([`${method} ${target} HTTP/1.1`, ...lines, '', ''].join('\r\n'), 'latin1')
  return { method, target, bytes: Buffer.concat([head, ...framed]) }
}

/** The bytes of a request, damaged. */
export const damage = (bytes: Buffer, random: Random): Buffer => {
  let damaged = bytes.length > 4000 ? bytes.subarray(0, 4000) : bytes
  do damaged = spoilBytes(damaged, random); while (random.chance(0.5))
  return damaged
}
