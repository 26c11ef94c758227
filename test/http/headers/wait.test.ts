import t from 'tap'
import { waitSecondsOf } from '../../../src/http/headers/wait.ts'

const of = (prefer: string | undefined, wait?: number) =>
  waitSecondsOf({ headers: prefer === undefined ? {} : { prefer } }, wait)

t.test('the parameter comes before the preference, and both are limited', async t => {
  t.equal(of(undefined), undefined)
  t.equal(of(undefined, 0), 0)
  t.equal(of(undefined, 1.5), 1.5)
  t.equal(of(undefined, 1e9), 55)
  t.equal(of('wait=10', 3), 3)
})

t.test('reads the preference wherever it stands among others', async t => {
  t.equal(of('wait=10'), 10)
  t.equal(of('Wait = "10"'), 10)
  t.equal(of('respond-async, wait=10; foo="a"'), 10)
  t.equal(of('return=minimal,wait=99999'), 55)
})

t.test('a preference that cannot be read is none', async t => {
  for (const prefer of ['respond-async', 'wait', 'wait=', 'wait=x', 'wait=-1', 'wait=1.5', 'await=10', '']) {
    t.equal(of(prefer), undefined, prefer)
  }
})
