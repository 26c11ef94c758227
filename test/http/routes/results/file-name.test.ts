import t from 'tap'
import { shortenFileName } from '../../../../src/http/routes/results/file-name.ts'

const cases: Array<[string, string]> = [
  ['', ''],
  ['report.csv', 'report.csv'],
  [`${'n'.repeat(196)}.csv`, `${'n'.repeat(196)}.csv`],
  [`${'n'.repeat(197)}.csv`, `${'n'.repeat(196)}.csv`],
  [`${'n'.repeat(240)}.tar.gz`, `${'n'.repeat(193)}.tar.gz`],
  ['n'.repeat(240), 'n'.repeat(200)],
  // A text after a dot that is too long for an extension.
  [`a.${'n'.repeat(240)}`, `a.${'n'.repeat(198)}`],
  [`${'n'.repeat(195)}😀.csv`, `${'n'.repeat(195)}.csv`],
  [`${'n'.repeat(190)}👩‍❤️‍👨.csv`, `${'n'.repeat(190)}.csv`],
  [`${'n'.repeat(194)}e\u0301.csv`, `${'n'.repeat(194)}.csv`],
  [`${'表'.repeat(100)}.csv`, `${'表'.repeat(65)}.csv`]
]

t.test('a file name that is too long keeps its extension and whole characters', async t => {
  for (const [name, expected] of cases) {
    t.equal(shortenFileName(name), expected)
    t.ok(Buffer.byteLength(shortenFileName(name)) <= 200)
  }
})
