import { recordStatuses } from '../../../src/job/job.ts'
import { taskStatuses } from '../../../src/views/schemas.ts'
import type { Json } from '../../helpers/client.ts'
import type { Random } from '../../helpers/random.ts'

/*
 * Values that a schema of the OpenAPI document allows, and such as it does not.
 */

export const jobTypes = ['fuzz', 'fuzz-b', 'sanitize', 'report'] as const

const texts = [
  '', 'a', 'x y', 'Z\u00fcrich', '\u4f1a\u793e', '\ud83d\ude00', '<script>alert(1)</script><b>x</b>',
  "'; DROP TABLE JobExecutionLog; --", '\u202eabc', 'a\u0000b',
  '\r\nSet-Cookie: a=b', '#{7*7}{{7*7}}<%= 7*7 %>', '2026-01-01', '-1', 'null', '{"a":[1,2]}', '\ufeff', 'a'.repeat(300)
]

const statusesPattern = (words: readonly string[]) => `^(${words.join('|')})(,(${words.join('|')}))*$`

const anyOf = (words: readonly string[]) => (random: Random) =>
  Array.from({ length: 1 + random.below(3) }, () => random.pick(words)).join()

// What each pattern of the document stands for; a new one has to be added here.
const samplesOf: Record<string, (random: Random) => string> = {
  '^[a-z0-9][a-z0-9._-]{0,63}$': random => random.pick(jobTypes),
  '^[\\x21-\\x7e]+$': random => `key-${random.below(200)}`,
  [statusesPattern(recordStatuses)]: anyOf(recordStatuses),
  [statusesPattern(taskStatuses)]: anyOf(taskStatuses)
}

export const anyText = (random: Random): string => random.pick(texts)

const anyNumber = ({ minimum = -1000, maximum = 1000, type }: Json, random: Random): number => {
  const low = Math.max(minimum, -1e6)
  const high = Math.min(maximum, 1e6)
  const number = random.pick([minimum, maximum, low + random.next() * (high - low)]) as number
  return type === 'integer' ? Math.round(number) : number
}

/** Any JSON at all. */
export const anyJson = (random: Random, depth = 0): unknown => {
  const kind = random.below(depth > 3 ? 6 : 8)
  if (kind === 6) return Array.from({ length: random.below(4) }, () => anyJson(random, depth + 1))
  if (kind === 7) {
    return Object.fromEntries(Array.from({ length: random.below(4) }, () => [
      random.pick(['a', 'format', 'content', 'error', '']), anyJson(random, depth + 1)
    ]))
  }
  return random.pick([null, true, 0, -1.5, 1e300, anyText(random)])
}

/** A value that the schema allows. */
export const valueOf = (schema: Json, random: Random): unknown => {
  if (schema.enum !== undefined) return random.pick(schema.enum)
  switch (schema.type) {
    case 'string': {
      if (schema.pattern !== undefined) {
        const sample = samplesOf[schema.pattern]
        if (sample === undefined) throw new Error(`no sample of the pattern ${schema.pattern}`)
        return sample(random)
      }
      const text = anyText(random).slice(0, schema.maxLength ?? 1000)
      return text.length < (schema.minLength ?? 0) ? 'x' : text
    }
    case 'integer':
    case 'number': return anyNumber(schema, random)
    case 'boolean': return random.chance(0.5)
    case 'array': {
      const values = Array.from(
        { length: (schema.minItems ?? 0) + random.below(3) }, () => valueOf(schema.items, random)
      )
      return schema.uniqueItems === true ? [...new Set(values)] : values
    }
    case 'object': return Object.fromEntries(Object.entries<Json>(schema.properties ?? {})
      .filter(([name]) => schema.required?.includes(name) || random.chance(0.4))
      .map(([name, inner]) => [name, valueOf(inner, random)]))
    default: return anyJson(random)
  }
}

const deep = (levels: number): unknown => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`)

const wrong = (random: Random): unknown => random.pick<() => unknown>([
  () => null, () => true, () => -1, () => 1e308, () => 1.5, () => Number.MAX_SAFE_INTEGER + 1, () => '',
  () => 'x'.repeat(5000), () => [], () => ({}), () => [[[]]], () => deep(70), () => '\ud800', () => '\u0000',
  () => ({ toString: 'x', length: -1 }), () => ({ constructor: { prototype: { a: 1 } } }), () => ({ error: null }),
  () => Array.from({ length: 200 }, (_, at) => at)
])()

/** The value with something wrong in it, at any depth. */
export const spoil = (value: unknown, random: Random): unknown => {
  if (typeof value !== 'object' || value === null || random.chance(0.15)) return wrong(random)
  const copy: Json = structuredClone(value)
  const names = Object.keys(copy)
  const name = names.length === 0 ? undefined : random.pick(names)
  if (name === undefined || random.chance(0.25)) {
    if (!Array.isArray(copy)) {
      copy[random.pick([
        'more', '', 'constructor', 'toString', 'tenant', 'jobId', 'a.b', 'a/b~c'
      ])] = wrong(random)
    } else copy.push(wrong(random))
  } else if (random.chance(0.3) && !Array.isArray(copy)) {
    delete copy[name]
  } else {
    copy[name] = spoil(copy[name], random)
  }
  return copy
}

/** Bytes with some of them changed, missing, or more. */
export const spoilBytes = (bytes: Buffer, random: Random): Buffer => {
  const at = random.below(bytes.length + 1)
  const rest = random.pick([at, Math.min(bytes.length, at + 1), Math.min(bytes.length, at + random.below(20))])
  const inserted = random.pick([
    Buffer.alloc(0), Buffer.from([random.below(256)]), Buffer.from([0xff, 0xfe]), Buffer.from('\u0000'),
    Buffer.from('\r\n'), Buffer.from('"'),
    Buffer.from('{"__proto__":{"a":1}}'), Buffer.from('\\ud800'), Buffer.from('1e999'), Buffer.from('\ufeff')
  ])
  return random.chance(0.2)
    ? bytes.subarray(0, at)
    : Buffer.concat([
      bytes.subarray(0, at), inserted, bytes.subarray(rest)
    ])
}
