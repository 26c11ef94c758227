import { mock } from 'node:test'
import t from 'tap'
import { createProgress } from '../report/progress.ts'

const createTerminal = (isTTY: boolean, columns = 80) => {
  const written: string[] = []
  // The visible text of the terminal: cleared lines are removed.
  const screen = () => written.join('').split('\n').map(line => line.split('\r\x1b[2K').at(-1) ?? '')
  return { written, screen, stream: { isTTY, columns, write: (text: string) => written.push(text) } }
}

t.test('rewrites one line on a terminal, and leaves notes above it', async t => {
  const { stream, screen } = createTerminal(true)
  let ms = 0
  const progress = createProgress({ stream, total: 4, now: () => ms })
  progress.step('cached read, round 1')
  t.strictSame(screen(), ['░'.repeat(24) + '  1/4  0:00  cached read, round 1'])
  ms = 65_000
  progress.step('cached read, round 2')
  progress.step('bare,\nround 1')
  t.strictSame(screen(), ['█'.repeat(12) + '░'.repeat(12) + '  3/4  1:05  bare, round 1'])
  progress.note('cached read: breach, run again')
  progress.step('cached read, again')
  progress.step('an additional step')
  progress.stop()
  t.strictSame(screen(), ['cached read: breach, run again', '5/5  1:05  done', ''])
})

t.test('cuts a line to the width of the terminal, because a wrapped line cannot be rewritten', async t => {
  const { stream, screen } = createTerminal(true, 40)
  const progress = createProgress({ stream, total: 1 })
  progress.step('x'.repeat(100))
  t.equal(Array.from(screen()[0] ?? '').length, 39)
  progress.stop()
})

t.test('prints one line per step if the output is no terminal', async t => {
  const { stream, written } = createTerminal(false)
  const progress = createProgress({ stream, total: 12, now: () => 0 })
  progress.step('cached read')
  progress.note('a note')
  progress.step('bare')
  progress.stop()
  t.equal(written.join(''), ' 1/12  0:00  cached read\na note\n 2/12  0:00  bare\n')
})

t.test('updates the time between two steps on a terminal, until it is stopped', async t => {
  const { stream, written } = createTerminal(true)
  mock.timers.enable({ apis: ['setInterval', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const progress = createProgress({ stream, total: 2, now: () => Date.now() })
  progress.step('a long one')
  mock.timers.tick(3000)
  t.match(written.at(-1), /1\/2 {2}0:03 {2}a long one$/)
  progress.stop()
  const count = written.length
  mock.timers.tick(3000)
  t.equal(written.length, count)
})
