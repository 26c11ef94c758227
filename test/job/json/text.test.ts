import fc from 'fast-check'
import t from 'tap'
import { parseExactNumbers } from '../../../src/job/json/exact-numbers.ts'
import { jsonTextDepth, memberText } from '../../../src/job/json/text.ts'
import { anyJsonText, space } from '../json-texts.ts'

t.test('finds the text of each member as it was written', async t => {
  const member = fc.tuple(fc.oneof(fc.string(), fc.constantFrom('input', '{', '"', '\\', 'a')), anyJsonText, space)
  fc.assert(fc.property(fc.array(member, { maxLength: 6 }), space, (members, around) => {
    const text = `${around}{${around}${members.map(([name, value, blank]) =>
      `${JSON.stringify(name)}${blank}:${blank}${value}${blank}`).join(`,${around}`)}}${around}`
    JSON.parse(text)
    // A Map keeps the last of several members with one name, like JSON.parse.
    const last = new Map(members.map(([name, value]) => [name, value]))
    return [...last].every(([name, value]) => memberText(text, name) === value) &&
      memberText(text, 'no such member') === undefined
  }))
  t.equal(memberText('{"\\u0061":1e2}', 'a'), '1e2', 'a name that is written with escapes')
  for (const text of ['["a",1]', '"\\"a\\":1"', '""', '1', 'null']) t.equal(memberText(text, 'a'), undefined, text)
})

t.test('counts the levels of a text, in members that are named twice too', async t => {
  for (const [text, depth] of [['1', 0], ['"[{"', 0], ['[]', 1], ['[{"a":[]},[]]', 3], ['{"a":[[]],"a":1}', 3]] as const) {
    t.equal(jsonTextDepth(text), depth, text)
  }
})

t.test('numbers that a double rounds differ where their digits do, and others are left to JSON.parse', async t => {
  const same: Array<[string, string]> = [
    ['9007199254740993', '9007199254740993.0'], ['9007199254740993', '9007199254740993000e-3'],
    ['9007199254740993', '0.9007199254740993E+16'], ['-9007199254740993', '-900719925474099.30e1'],
    ['1e-400', '0.1e-399']
  ]
  for (const [one, other] of same) t.same(parseExactNumbers(one), parseExactNumbers(other), `${one} = ${other}`)
  const different = [
    '9007199254740993', '-9007199254740993', '9007199254740995', '0.1000000000000000055', '0.10000000000000000551', '1e-400',
    '1e-401', '5e-99999999999999999999', '50e-99999999999999999999'
  ]
  t.equal(new Set(different.map(parseExactNumbers)).size, different.length)
  const long = `0.1${'0'.repeat(1_000_000)}1`
  t.equal(parseExactNumbers(long), `\0${long.slice(2)}e-1000002`, 'a million digits, in a time that grows no faster than they')
  for (const text of ['100', '1e2', '1.0', '-0.0', '9007199254740992', '1e22', '0.30000000000000004', '5e-324']) {
    t.equal(parseExactNumbers(text), undefined, text)
  }
  t.equal(parseExactNumbers('{"9007199254740993":["\\"9007199254740993,1e-400"]}'), undefined, 'digits in strings')
  t.same(
    parseExactNumbers('["9007199254740993",{"a":-9007199254740993,"b":[1.50]}]'),
    ['9007199254740993', { a: '\0-9007199254740993e0', b: [1.5] }], 'in their places, apart from strings'
  )
})
