import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { sanitize } from '../../../src/processors/sanitize/sanitize.ts'
import type { SanitizeInput } from '../../../src/job/sanitize-input.ts'

type Golden = { request: SanitizeInput, answer: { success: true, data: unknown } }

const folder = new URL('../../golden/sanitize/', import.meta.url)

/** The answers of the synchronous API, which never change: new cases get new files, and no file is removed or adapted. */
const names = [
  'html-article', 'html-attributes', 'html-comments', 'html-empty', 'html-escapes', 'html-event-handlers',
  'html-invisible',
  'html-mutation', 'html-nested-script', 'html-nfkc', 'html-script', 'html-unclosed', 'html-unknown-elements',
  'html-urls',
  'json-deep', 'json-duplicates', 'json-scalar', 'json-strings', 'json-values',
  'text-bidi', 'text-controls', 'text-emoji', 'text-empty', 'text-invisible', 'text-joiners', 'text-line-ends',
  'text-marks',
  'text-markup', 'text-nfc', 'text-nfkc', 'text-no-normalization', 'text-whitespace'
]

t.strictSame(readdirSync(folder).sort(), names.map(name => `${name}.json`), 'the list names every file')

for (const name of names) {
  const { request, answer } = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')) as Golden
  t.strictSame({ success: true, data: sanitize(request) }, answer, name)
}
