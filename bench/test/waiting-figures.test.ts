import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import t from 'tap'
import type { Figure } from '../volume/waiting/figures.ts'

const home = resolve(import.meta.dirname, '../volume/waiting/figures.ts')

/** What a program prints and exits with that has these figures. */
const report = (figures: readonly Figure[], waited = 0): { code: number | null, lines: string[] } => {
  const program = `import { printFigures } from ${JSON.stringify(home)}
    printFigures('clients', ${JSON.stringify(figures).replaceAll('null', 'NaN')}, ${waited})`
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })
  return { code: status, lines: stdout.trimEnd().split('\n') }
}

t.test('a figure that exceeds its bound fails the program', async t => {
  t.same(report([{ what: 'memory', value: 1.25, digits: 1, max: 2 }, { what: 'CPU', value: 7 }]), {
    code: 0, lines: ['clients', 'memory   1.3 (within 2)', 'CPU      7']
  })
  t.same(report([{ what: 'memory', value: 3, max: 2 }]), { code: 1, lines: ['clients', 'memory   3 (exceeds 2)'] })
  t.same(report([{ what: 'memory', value: NaN, max: 2 }]), { code: 1, lines: ['clients', 'memory   NaN (exceeds 2)'] })
})

t.test('on a busy machine times do not count, and other figures do', async t => {
  const late: Figure = { what: 'P99', value: 90, max: 50, isTime: true }
  t.equal(report([late], 0.2).code, 1)
  const { code, lines } = report([late], 0.54)
  t.equal(code, 0)
  t.match(lines.at(-1), /^times do not count: .* 54 % of the time$/)
  t.equal(report([late, { what: 'memory', value: 3, max: 2 }], 0.54).code, 1)
})
