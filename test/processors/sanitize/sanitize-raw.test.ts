import fc from 'fast-check'
import t, { type Test } from 'tap'
import { ProcessorError, type ProgressReport } from '../../../src/processors/processor.ts'
import { sanitizeRaw } from '../../../src/processors/sanitize/sanitize-raw.ts'
import { sanitize } from '../../../src/processors/sanitize/sanitize.ts'
import { cleanNdjson } from '../../../src/processors/sanitize/json/clean-ndjson.ts'
import { cleanTextStream } from '../../../src/processors/sanitize/text/clean-text-stream.ts'
import { cleanText, createTally } from '../../../src/processors/sanitize/text/clean-text.ts'
import { findCut } from '../../../src/processors/sanitize/text/safe-split.ts'
import type { Normalization, SanitizeRawInput } from '../../../src/job/sanitize-input.ts'
import { hasTooManyMarks } from '../../../src/processors/sanitize/text/combining-marks.ts'
import { hostileJson, hostileText, stackedText } from './hostile.ts'

type ContentType = SanitizeRawInput['contentType']

const forms = ['NFC', 'NFKC', 'none'] as const
const wellFormed = fc.oneof(hostileText.map(text => text.toWellFormed()), stackedText)
const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 })

const assert = (t: Test, property: fc.IProperty<unknown[]>, numRuns: number) => {
  t.doesNotThrow(() => fc.assert(property, { numRuns }))
}
const assertAsync = (t: Test, property: fc.IAsyncProperty<unknown[]>, numRuns: number) => t.resolves(
  fc.assert(property, { numRuns })
)

/** Cuts into pieces of these sizes, repeated to the end. */
async function * cut <Whole extends {
  length: number, slice: (start: number, end: number) => Whole
}> (whole: Whole, sizes: number[]) {
  for (let start = 0, turn = 0; start < whole.length; turn++) {
    const end = start + sizes[turn % sizes.length]!
    yield whole.slice(start, end)
    start = end
  }
}

const run = async (
  bytes: Uint8Array, contentType: ContentType, normalization: Normalization = 'NFC', sizes = [bytes.length || 1],
  progress: (report: ProgressReport) => void = () => {}
) => {
  const rawInput = { sizeBytes: bytes.byteLength, read: () => cut(bytes, sizes) }
  const { texts, removed } = await sanitizeRaw({ contentType, options: { normalization } }, rawInput, progress)
  const sanitized = (await Array.fromAsync(texts)).join('')
  return { sanitized, removed: removed() }
}

const runText = (text: string, contentType: ContentType, ...rest: [
  Normalization?, number[]?
]) => run(Buffer.from(text), contentType, ...rest)

const whole = (content: string, contentType: 'text/plain' | 'application/json', normalization: Normalization) => {
  const { sanitized, removed } = sanitize({ content, contentType, options: { normalization } })
  return { sanitized, removed }
}

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

const failure = async (run: () => unknown): Promise<ProcessorError> => {
  try {
    await run()
  } catch (error) {
    if (error instanceof ProcessorError) return error
    throw error
  }
  throw new Error('it did not fail')
}

t.test('splitting a text at any place that findCut gives does not change the result', async t => {
  for (const form of forms) {
    assert(t, fc.property(stackedText, text => {
      const clean = (text: string) => {
        const { count, removed } = createTally()
        const cleaned = cleanText(text, form, count)
        return { cleaned, removed: removed() }
      }
      const { cleaned, removed } = clean(text)
      for (let at = findCut(text, 1); at < text.length; at = findCut(text, at + 1)) {
        const [left, right] = [clean(text.slice(0, at)), clean(text.slice(at))]
        if (left.cleaned + right.cleaned !== cleaned) return false
        const sum = (left.removed.invisible ?? 0) + (right.removed.invisible ?? 0)
        if (sum !== (removed.invisible ?? 0)) return false
      }
      return true
    }), 3000)
  }
})

t.test('no character beside a split is changed by its neighbours across the split', async t => {
  const around = [
    '\u0301', '\u0338', '\u0327', '\u3099', '\u1161', '\u11A8', '\uFE0F', '\uFE0F\u20E3', '\u200D', '\u200C',
    '\u200D👩', '\u180B', '\r', '\n', '\u{E0067}', 'क', '్', 'م', '👩', '👍🏽', 'ŉ', '\u200B\u0301'
  ]
  const changed: string[] = []
  const check = (left: string, right: string) => {
    if (findCut(left + right, left.length) !== left.length) return
    for (const form of forms) {
      const clean = (text: string) => cleanText(text, form, () => {})
      if (clean(left) + clean(right) !== clean(left + right)) changed.push(`${form} ${escape(left)}|${escape(right)}`)
    }
  }
  for (let unit = 9; unit < 0x10000; unit++) {
    // Of the ideographs and the Hangul syllables, which differ in nothing that matters, one in a hundred.
    const character = String.fromCharCode(unit)
    if (!character.isWellFormed() || (unit >= 0x3400 && unit % 101 !== 0)) continue
    for (const other of around) {
      check(character, other)
      check(other, character)
    }
  }
  t.strictSame(changed, [])
  const places = 'a b\n漢字がな가나é<=>#*'
  const found = [...places].map((_, at) => at).filter(at => at > 0 && findCut(places, at) === at)
  t.strictSame(found, [2, 4, 5, 6, 7, 8, 9, 10], 'texts are split at blanks, line ends, letters and ideographs')
})

t.test('plain text in pieces gives the same result and counts as in one', async t => {
  for (const form of forms) {
    await assertAsync(t, fc.asyncProperty(wellFormed, sizes, fc.integer({
      min: 1, max: 20
    }), async (text, sizes, pieceLength) => {
      const { count, removed } = createTally()
      const bounds = { pieceLength, stretchMax: 10_000 }
      const pieces = await Array.fromAsync(
        cleanTextStream(cut(text, sizes), piece => cleanText(piece, form, count), bounds)
      )
      const expected = whole(text, 'text/plain', form)
      const { normalized, ...counts } = removed()
      const { normalized: isNormalized, ...expectedCounts } = expected.removed
      return pieces.join('') === expected.sanitized && same(
        counts, expectedCounts
      ) && (normalized === undefined) === (isNormalized === undefined)
    }), 3000)
    await assertAsync(t, fc.asyncProperty(wellFormed, sizes, async (text, sizes) =>
      same(await runText(text, 'text/plain', form, sizes), whole(text, 'text/plain', form))), 1000)
  }
})

t.test('a few megabytes stream through in pieces and count as one text', async t => {
  const line = 'Zürich e\u0301\u0323 \u200Bfree\u202E \u0000 می\u200Cخواهم 漢字 👩\u200D👩 line\r\n'
  const text = '\uFEFF' + line.repeat(40_000) + 'ab'.repeat(700_000) + '\n' + '漢'.repeat(400_000) +
    '한'.repeat(300_000) + 'か\u3099'.repeat(100_000)
  const bytes = Buffer.from(text)
  const read = { taken: 0 }
  const rawInput = {
    sizeBytes: bytes.length,
    read: async function * () {
      for await (const piece of cut(bytes, [262_144])) {
        read.taken++
        yield piece
      }
    }
  }
  const { texts, removed } = await sanitizeRaw({ contentType: 'text/plain' }, rawInput, () => {})
  const pieces: string[] = []
  let longest = 0
  for await (const piece of texts) {
    if (pieces.length === 0) t.ok(read.taken <= 2, 'the first piece is ready before the rest is read')
    pieces.push(piece)
    longest = Math.max(longest, piece.length)
  }
  const expected = whole(text, 'text/plain', 'NFC')
  t.ok(pieces.join('') === expected.sanitized)
  t.strictSame(removed(), expected.removed)
  t.equal(removed().normalized, 1)
  t.ok(longest < 600_000, `the longest piece has ${longest} characters`)
})

t.test('accents that never become stable cost only the joiners of their own stretch', async t => {
  const chain = `\u0301\u{E0067}${'\u0D4D\u200C'.repeat(20)}\u0D4D`
  t.equal(whole(`${chain}\nന്\u200D`, 'text/plain', 'NFC').sanitized, `${'\u0D4D'.repeat(21)}\u0301\nന്\u200D`)
})

t.test('rejects a long stretch that cannot be split, whatever the sizes of the pieces', async t => {
  const bounds = { pieceLength: 4, stretchMax: 16 }
  const stretch = async (
    text: string, sizes: number[]
  ) => (await Array.fromAsync(cleanTextStream(cut(text, sizes), text => text, bounds))).join('')
  for (const [before, after] of [['', ''], ['', 'xyz'], ['abc\n', ''], ['漢字 '.repeat(9), 'x\n'.repeat(9)]] as const) {
    for (const sizes of [[1], [3, 5], [16], [17], [100]]) {
      const fits = before + '\u0301'.repeat(16) + after
      t.equal(await stretch(fits, sizes), fits)
      const error = await failure(() => stretch(`${before}${'\u0301'.repeat(17)}${after}`, sizes))
      t.match(error, { code: 'INPUT_TOO_LARGE', retryable: false, message: /more than 16 characters/ })
    }
  }
  const pictographs = '👩'.repeat(512 * 1024)
  t.equal((await runText(`${pictographs}x\n${pictographs}`, 'text/plain')).sanitized.length, 2 * 1024 * 1024 + 2)
  t.match(await failure(() => runText(`${pictographs}👩`, 'text/plain')), {
    code: 'INPUT_TOO_LARGE', message: /1048576/
  })
})

t.test('decodes characters across pieces, and rejects bytes that are not UTF-8', async t => {
  await assertAsync(t, fc.asyncProperty(fc.uint8Array({ maxLength: 12 }), sizes, async (bytes, sizes) => {
    const text = Buffer.from(bytes).toString()
    if (Buffer.from(text).equals(bytes)) {
      return same(await run(bytes, 'text/plain', 'NFC', sizes), whole(text, 'text/plain', 'NFC'))
    }
    const { code, retryable, message } = await failure(() => run(bytes, 'text/plain', 'NFC', sizes))
    return code === 'INVALID_INPUT' && !retryable && message === 'The content is not UTF-8.'
  }), 3000)
  for (const contentType of ['text/plain', 'text/html', 'application/x-ndjson'] as const) {
    t.equal((await failure(
      () => run(Buffer.from([0x22, 0xE2, 0x80]), contentType)
    )).code, 'INVALID_INPUT', 'it ends within a character')
  }
})

t.test('NDJSON: sanitizes each line as separate JSON', async t => {
  const line = fc.oneof({ weight: 4, arbitrary: hostileJson.map(json => json.toWellFormed().replaceAll('\n', ' ')) }, {
    weight: 1, arbitrary: fc.constantFrom('', ' ', '\t', '\r')
  })
  for (const form of forms) {
    await assertAsync(t, fc.asyncProperty(fc.array(line, { maxLength: 5 }), sizes, async (lines, sizes) => {
      const { count, removed } = createTally()
      const expected = lines.map(line => {
        if (line.trim() === '') return line
        const { sanitized, removed } = whole(line, 'application/json', form)
        for (const [kind, times] of Object.entries(removed)) count(kind as 'control', times)
        return sanitized
      })
      const got = await runText(lines.join('\n'), 'application/x-ndjson', form, sizes)
      return same(got, { sanitized: expected.join('\n'), removed: removed() })
    }), 700)
  }
})

t.test('NDJSON: keeps line ends and blank lines', async t => {
  const becomes = async (text: string, sanitized: string, removed: Record<string, number> = {}) => {
    for (const sizes of [[1], [1000]]) {
      t.strictSame(await runText(text, 'application/x-ndjson', 'NFC', sizes), { sanitized, removed })
    }
  }
  await becomes('', '')
  await becomes('\n', '\n')
  await becomes('{"a":1}\n', '{"a":1}\n')
  await becomes('\n{"a":"x\u200B"}\n \n\n[1.0]', '\n{"a":"x"}\n \n\n[1.0]', { invisible: 1 })
  await becomes('1\r\n2\r\n', '1\r\n2\r\n')
  await becomes('"a\\nb"\n"e\u0301"\n"e\u0301"', '"a\\nb"\n"é"\n"é"', { normalized: 2 })
  await becomes('{"a":1,"a":2}\n{"a":3}', '{"a":1}\n{"a":3}', { duplicate: 1 })
  await becomes('\uFEFF{}\n{}\n\uFEFF[]\n', '{}\n{}\n[]\n', { invisible: 2 })
  await becomes('\uFEFF', '', { invisible: 1 })
})

t.test('NDJSON: an error has the number of its line and quotes nothing of it', async t => {
  const fails = async (text: string, code: string, line: number) => {
    const secret = 'secret'
    for (const sizes of [[1], [1000], [100_000]]) {
      const error = await failure(
        () => runText(text.replaceAll('SECRET', secret), 'application/x-ndjson', 'NFC', sizes)
      )
      t.match(error, { code, retryable: false })
      t.strictSame(error.details, { line })
      t.notMatch(JSON.stringify([error, error.message]), secret)
    }
  }
  await fails('{}\n\n{"a":SECRET}\n{}', 'INVALID_JSON', 3)
  await fails('{"a":1}\r{"a":2}', 'INVALID_JSON', 1)
  await fails('{}\n{"a":', 'INVALID_JSON', 2)
  await fails(`{}\n${'['.repeat(1001)}`, 'JSON_TOO_DEEP', 2)
  await fails(`\n\n\n"${'\u0301'.repeat(257)}"\n`, 'TOO_MANY_MARKS', 4)
  const lines = async (
    text: string, sizes: number[]
  ) => (await Array.fromAsync(cleanNdjson(cut(text, sizes), text => text, () => {}, 10))).join('')
  for (const sizes of [[1], [3], [1000]]) {
    t.equal(await lines('"12345678"\n"12345678"', sizes), '"12345678"\n"12345678"')
    for (const end of ['', '\n', '\n1']) {
      const error = await failure(() => lines(`1\n"123456789"${end}`, sizes))
      t.match(error, { code: 'INPUT_TOO_LARGE', message: 'A line of more than 10 characters is not sanitized.' })
      t.strictSame(error.details, { line: 2 })
    }
  }
  const long = `"${'x'.repeat(4 * 1024 * 1024 - 2)}"`
  t.equal((await runText(`${long}\n${long}`, 'application/x-ndjson')).sanitized.length, 8 * 1024 * 1024 + 1)
  t.match(await failure(() => runText(`${long} `, 'application/x-ndjson')), {
    code: 'INPUT_TOO_LARGE', message: /4194304/
  })
})

t.test('HTML gives the same as in JSON, and none of it is read if it is too large', async t => {
  const html = '\uFEFF<p>é</p><script>x</script>'
  const { contentType, ...expected } = sanitize({ content: html, contentType: 'text/html' })
  t.strictSame(await runText(html, 'text/html', 'NFC', [1]), expected)
  t.equal(contentType, 'text/html')
  const read = () => t.fail('it is not read') as never
  t.match(await failure(() => sanitizeRaw(
    { contentType: 'text/html' }, { sizeBytes: 4 * 1024 * 1024 + 1, read }, () => {}
  )), { code: 'INPUT_TOO_LARGE', retryable: false })
})

t.test('progress counts the bytes that are sanitized', async t => {
  const reports: ProgressReport[] = []
  await run(Buffer.from('é\n'.repeat(4)), 'text/plain', 'NFC', [5], report => { reports.push(report) })
  t.strictSame(reports, [
    { stage: 'sanitizing', done: 0, total: 12 }, { done: 5, total: 12 }, { done: 10, total: 12 },
    { done: 12, total: 12 }
  ])
})

t.test('rejects more than 256 combining marks in a row without sorting them', async t => {
  const many = (marks: string, contentType: 'text/plain' | 'text/html', normalization: Normalization = 'NFC') =>
    () => sanitize({ content: `<p>a${marks}</p>`, contentType, options: { normalization } })
  const error = {
    code: 'TOO_MANY_MARKS',
    retryable: false,
    message: 'Text with more than 256 combining marks in a row is not sanitized.'
  }
  const cpuBefore = process.cpuUsage()
  for (const contentType of ['text/plain', 'text/html'] as const) {
    t.throws(many('\u0301\u0327'.repeat(500_000), contentType), error)
    t.throws(
      many('\u0301\u200B\u0327\u200B'.repeat(200_000), contentType), error,
      'marks that a removal brings together count too'
    )
    t.throws(many('\u0301\uFF9E'.repeat(129), contentType, 'NFKC'), error)
    t.doesNotThrow(many('\u0301\u0327'.repeat(128), contentType))
    t.doesNotThrow(many('\u0301'.repeat(257), contentType, 'none'))
  }
  t.ok(process.cpuUsage(cpuBefore).user < 5_000_000, 'sorting them would take minutes of CPU time')
  const parts = [
    'a', '\u0301'.repeat(10), '\u0301'.repeat(255), '\u0301'.repeat(256), '\u{1E000}', '\u{1E000}'.repeat(130),
    '\uFF9E', '😀', '\uD838', 'x'.repeat(100)
  ]
  assert(t, fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 8 }).map(parts => parts.join('')),
    text => hasTooManyMarks(text) === /[\p{M}\uFF9E\uFF9F]{257}/v.test(text)), 3000)
})
