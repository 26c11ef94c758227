import fc from 'fast-check'
import t from 'tap'
import { toDisposition, toMediaType } from '../../../../src/http/routes/results/content-headers.ts'
import { anyCodePoint } from '../../../helpers/any-text.ts'

const unknown = 'application/octet-stream'

t.test('keeps a valid media type and replaces any other with application/octet-stream', async t => {
  for (const good of [
    'text/html', 'TEXT/HTML', 'text/html; charset=utf-8', 'text/html;charset="utf-8"',
    'application/vnd.api+json; a=b ; c="d\\"e"', 'x/y'
  ]) {
    t.equal(toMediaType(good), good)
    t.equal(toMediaType(` ${good}\n`), good)
  }
  const bad = [
    '', 'html', 'text/', '/html', 'text/ html', 'text/html;', 'text/html; charset', 'text/html; a="b',
    'text/html, text/plain',
    'text/html\r\nset-cookie: a=b', 'text/html; a="b\r\nc"', 'text/häml', 'text/html; a=ä', 'text/html\0',
    `text/${'x'.repeat(300)}`, null
  ]
  for (const text of bad) t.equal(toMediaType(text), unknown, String(text))
})

t.test('active content is an attachment', async t => {
  for (const type of [
    'text/plain', 'TEXT/Plain; charset=utf-8', 'text/csv', 'application/json', 'application/x-ndjson'
  ]) {
    t.match(toDisposition(type, 'a'), /^inline;/, type)
  }
  for (const type of [
    'text/html', 'image/svg+xml', 'application/xml', 'text/plain-x', 'text/javascript', 'application/pdf', unknown
  ]) {
    t.match(toDisposition(type, 'a'), /^attachment;/, type)
  }
})

const names: Array<[string | null, string]> = [
  ['report-2026_01.csv', 'filename="report-2026_01.csv"'],
  ['my report.csv', 'filename="my_report.csv"; filename*=UTF-8\'\'my%20report.csv'],
  ['Bericht für März.pdf', 'filename="Bericht_f_r_M_rz.pdf"; filename*=UTF-8\'\'Bericht%20f%C3%BCr%20M%C3%A4rz.pdf'],
  ['表😀.csv', 'filename="__.csv"; filename*=UTF-8\'\'%E8%A1%A8%F0%9F%98%80.csv'],
  ['a"; filename="b.exe', 'filename="a___filename__b.exe"; filename*=UTF-8\'\'a%22%3B%20filename%3D%22b.exe'],
  ["it's (1)*.txt", 'filename="it_s__1__.txt"; filename*=UTF-8\'\'it%27s%20%281%29%2A.txt'],
  ['100%25.txt', 'filename="100_25.txt"; filename*=UTF-8\'\'100%2525.txt'],
  ['a\r\nset-cookie: x=y', 'filename="aset-cookie__x_y"; filename*=UTF-8\'\'aset-cookie%3A%20x%3Dy'],
  ['../../etc/passwd', 'filename="passwd"'],
  ['C:\\Windows\\a.txt', 'filename="a.txt"'],
  ['cod\u202etxt.exe', 'filename="codtxt.exe"'],
  ['a\u0000\u007f\u0085\u2028\u200bb', 'filename="ab"'],
  ['half \ud83d.txt', 'filename="half__.txt"; filename*=UTF-8\'\'half%20%EF%BF%BD.txt'],
  ['', 'filename="result"'],
  [null, 'filename="result"'],
  ['..', 'filename="result"'],
  ['folder/', 'filename="result"'],
  [' \t', 'filename="result"'],
  [`${'x'.repeat(300)}.csv`, `filename="${'x'.repeat(196)}.csv"`]
]

for (const [name, expected] of names) {
  t.test(`encodes the name ${encodeURI(name?.toWellFormed() ?? 'null').slice(0, 60)}`, async t => {
    t.equal(toDisposition('text/csv', name), `inline; ${expected}`)
  })
}

t.test('any name gives a valid RFC 6266 header in ASCII', async t => {
  const header =
    /^attachment; filename="[A-Za-z0-9._-]+"(; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+)?$/
  fc.assert(fc.property(fc.string({
    unit: fc.integer({ min: 0, max: 0xffff }).map(code => String.fromCharCode(code))
  }), name => {
    t.match(toDisposition('text/html', name), header, JSON.stringify(name))
  }))
  fc.assert(fc.property(fc.string({ unit: anyCodePoint }), text => {
    t.match(toMediaType(text), /^[\x20-\x7e]+\/[\x20-\x7e]+$/)
  }))
})
