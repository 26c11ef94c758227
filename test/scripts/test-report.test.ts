import { Readable } from 'node:stream'
import t from 'tap'
import { readTap, type Tally } from '../../scripts/test-report.ts'

async function read (text: string): Promise<{ tally: Tally; lines: string[] }> {
  const lines: string[] = []
  const tally = await readTap(Readable.from([text]), line => lines.push(line))
  return { tally, lines }
}

t.test('counts innermost blocks, whatever number of assertions they hold', async t => {
  const { tally, lines } = await read(`TAP version 14
# Subtest: a.test.ts
    # Subtest: outer
        # Subtest: inner
            ok 1 - one
            ok 2 - two
            1..2
        ok 1 - inner
        ok 2 - left out # SKIP
        1..2
    ok 1 - outer
    1..1
ok 1 - a.test.ts # time=12ms
1..1
`)
  t.strictSame(tally, { passed: 1, failed: 0, skipped: 1 })
  t.strictSame(lines, ['ok   a.test.ts (12 ms)'])
})

t.test('a failure is counted once and shown with its path and diagnostics', async t => {
  const { tally, lines } = await read(`TAP version 14
# Subtest: a.test.ts
    # Subtest: bad
        not ok 1 - should be equal
          ---
          compare: ===
          diff: |
            -2
            +1
          ...
        not ok 2 - should be equal
        1..2
    not ok 1 - bad
    # Subtest: good
        ok 1 - fine
        1..1
    ok 2 - good
    1..2
not ok 1 - a.test.ts # time=5ms
1..1
`)
  t.strictSame(tally, { passed: 1, failed: 1, skipped: 0 })
  t.match(lines[0], /not ok a\.test\.ts > bad > should be equal/)
  t.match(lines.slice(1, 5), [/compare: ===/, /diff:/, /-2/, /\+1/])
  t.equal(lines.at(-1), 'FAIL a.test.ts (5 ms)')
})

t.test('a file that crashes before its first test is a failure', async t => {
  const { tally } = await read('TAP version 14\n# Subtest: a.test.ts\n    1..0 # no tests found\nnot ok 1 - a.test.ts # time=5ms\n1..1\n')
  t.strictSame(tally, { passed: 0, failed: 1, skipped: 0 })
})

t.test('a file that dies after its tests passed is a failure beside them', async t => {
  const { tally } = await read(`TAP version 14
# Subtest: a.test.ts
    # Subtest: good
        ok 1 - fine
        1..1
    ok 1 - good
    1..1
not ok 1 - a.test.ts # time=5ms
1..1
`)
  t.strictSame(tally, { passed: 1, failed: 1, skipped: 0 })
})

t.test('output cut off in the middle is a failure', async t => {
  const { tally } = await read('TAP version 14\n1..2\n# Subtest: a.test.ts\n    ok 1 - fine\n    1..1\nok 1 - a.test.ts\n')
  t.equal(tally.failed, 1)
})
