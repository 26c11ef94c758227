import { Type } from '@sinclair/typebox'
import formats from 'ajv-formats'
import t from 'tap'
import { createCheck } from '../src/schema-check.ts'

t.test('a date-time is what the package of the formats takes for one', t => {
  const { validate } = formats.default.get('date-time') as { validate: (text: string) => boolean }
  const check = createCheck(Type.String({ format: 'date-time' }))
  const two = (number: number) => String(number).padStart(2, '0')
  const numbers = (length: number) => Array.from({ length }, (_, number) => two(number))
  const dates = ['0000', '1900', '2000', '2023', '2024', '9999'].flatMap(year =>
    numbers(14).flatMap(month => numbers(33).map(day => `${year}-${month}-${day}`)))
  const times = [
    ...numbers(26).map(hour => `${hour}:00:00.000Z`),
    ...numbers(62).flatMap(number => [`12:${number}:00.000Z`, `12:00:${number}.000Z`, `23:59:${number}.999Z`]),
    '12:00:00Z', '12:00:00.5z', '12:00:00.000', '12:00:00.0000Z', '12:00:00.000+02:00', '12:00:00,000Z', '12:00.000Z'
  ]
  const texts = [
    ...dates.map(date => `${date}T12:00:00.000Z`),
    ...times.flatMap(time => ['T', 't', ' ', ''].map(separator => `2026-01-31${separator}${time}`)),
    '', ' 2026-01-31T12:00:00.000Z', '2026-01-31T12:00:00.000Z\n', '02026-01-31T12:00:00.000Z', '2026-1-31T12:00:00.000Z'
  ]
  const isTaken = (text: string) => check(text).length === 0
  t.same(texts.filter(isTaken), texts.filter(validate))
  t.ok(texts.some(isTaken))
  t.end()
})
