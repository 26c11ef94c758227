import { Parser } from 'htmlparser2'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { sanitize } from '../../../../src/processors/sanitize/sanitize.ts'
import { cleanHtml } from '../../../../src/processors/sanitize/html/clean-html.ts'
import { hostileHtml } from '../hostile.ts'
import { xssVectors } from '../xss-vectors.ts'

type Options = { normalization?: 'NFC' | 'NFKC' | 'none' }
const clean = (content: string, options: Options = {}) => {
  const { sanitized, removed } = sanitize({ content, contentType: 'text/html', options })
  return { html: sanitized, removed }
}

const becomes = (t: Test, html: string, expected: string, removed: Record<string, number> = {}) => {
  const got = clean(html)
  t.equal(got.html, expected, html)
  t.strictSame(got.removed, removed, `counts of ${html}`)
}

/** Elements, attributes and URLs that could act, as another parser finds them. */
const findDangers = (html: string): string[] => {
  const dangers: string[] = []
  const parser = new Parser({
    onopentag (name, attributes) {
      if (/^(?:script|style|svg|math|i?frame|object|embed|base|link|meta|form|input|button|template|noscript|textarea|title|xmp|plaintext|bdo)$/.test(name)) {
        dangers.push(name)
      }
      for (const [attribute, value] of Object.entries(attributes)) {
        if (/^(?:on.*|style|srcdoc|srcset|formaction|action|ping|id|name|background|xlink:href)$/.test(attribute)) {
          dangers.push(attribute)
        }
        if (/^(?:href|src|cite)$/.test(attribute) && !/^(?:https?:|mailto:|[./?#]?[^:/\\]|\/[^/\\])/.test(value)) {
          dangers.push(value)
        }
        if (/^[\s\u0000-\u0020]*(?:javascript|vbscript|data|file|feed):/i.test(value) && attribute !== 'title') {
          dangers.push(value)
        }
      }
    },
    oncomment: () => dangers.push('comment')
  })
  parser.end(html)
  return dangers
}

t.test('no known attack survives', async t => {
  for (const vector of xssVectors) {
    for (const normalization of ['NFC', 'NFKC', 'none'] as const) {
      t.strictSame(findDangers(clean(vector, { normalization }).html), [], JSON.stringify(vector))
    }
  }
})

t.test('hostile HTML comes out harmless, and cleaning it again changes nothing', async t => {
  for (const normalization of ['NFC', 'NFKC', 'none'] as const) {
    t.doesNotThrow(() => fc.assert(fc.property(hostileHtml, content => {
      const { html } = clean(content, { normalization })
      const again = clean(html, { normalization })
      return again.html === html && Object.keys(again.removed).length === 0 && findDangers(html).length === 0
    }), { numRuns: 1500 }))
  }
})

t.test('harmless HTML is unchanged', async t => {
  const harmless = [
    'plain &amp; simple', '<p>a<br />b</p>', '<a href="https://a.test/?a=1&amp;b=2">x</a>',
    '<a href="mailto:a@b.test">x</a>', '<a href="/path#x">x</a>',
    '<a href="x" target="_blank" rel="noopener noreferrer">x</a>',
    '<img src="https://a.test/x.png" alt="" width="10" loading="lazy" />', '<ol start="3" reversed><li>x</li></ol>',
    '<table><thead><tr><th scope="col" colspan="2">x</th></tr></thead></table>', '<p lang="he" dir="rtl">שלום</p>',
    '<p title="&quot;a&quot; &lt;b&gt;">x</p>',
    '<details open><summary>a</summary>b</details>', '<ruby>漢<rt>kan</rt></ruby>', '1 &lt; 2 &amp;&amp; 3 &gt; 2',
    '👩‍❤️‍👨 می‌خواهم'
  ]
  for (const html of harmless) becomes(t, html, html)
})

t.test('what is removed is counted by kind', async t => {
  becomes(t, '<p>a<script>alert(1)</script>b</p>', '<p>ab</p>', { element: 1 })
  becomes(t, '<font color=red><center>x</center></font>', 'x', { element: 2 })
  becomes(t, '<p onclick=x style=y class=z>a</p>', '<p>a</p>', { attribute: 3 })
  becomes(t, '<a href="javascript:x">a</a><img src="data:x" alt="">', '<a>a</a><img alt="" />', { url: 2 })
  becomes(t, '<!doctype html>a<!-- b --><!-- c -->', 'a', { comment: 3 })
  becomes(t, 'a\u200B\u202Eb\0', 'ab', { bidi: 1, control: 1, invisible: 1 })
  becomes(t, '<p title="a&#x200b;b">e&#x301;</p>', '<p title="ab">é</p>', { invisible: 1, normalized: 1 })
  becomes(
    t, '<a href="mailto:a@b.test" target="frame" rel="opener nofollow">x</a>',
    '<a href="mailto:a@b.test" rel="nofollow">x</a>', { attribute: 2 }
  )
  becomes(t, '<a href="/e&#x301;&#x200b;">x</a>', '<a href="/e\u0301">x</a>', { invisible: 1 })
  becomes(t, '<a href=x rel=opener>x</a>', '<a href="x">x</a>', { attribute: 1 })
  becomes(t, '<img src="mailto:a@b.test" alt="x" width="1px">', '<img alt="x" />', { attribute: 1, url: 1 })
})

t.test('a removed element that separates words leaves a blank', async t => {
  const cases: Array<[string, string]> = [
    ['one<form>two</form>three', 'one two three'],
    ['<b>one</b><center><i>two</i></center>', '<b>one</b><i> two</i>'],
    ['one<iframe>x</iframe>two<svg><form></form></svg>three<input>four', 'one two three four'],
    ['one<svg><div>x</div></svg>two', 'one two'],
    ['one<form>\u200B</form>two', 'one  two'],
    // None where there is a blank or a block, none at the ends, none for what separates nothing.
    ['one <form> two </form> three', 'one  two  three'],
    ['<form><p>one</p><fieldset>two</fieldset></form>', '<p>one</p>two'],
    ['<body>one</body>', 'one'],
    ['o<custom-x>n</custom-x>e<script>x</script>!', 'one!']
  ]
  for (const [html, expected] of cases) {
    t.equal(clean(html).html, expected, html)
    t.equal(clean(expected).html, expected, `${html} again`)
  }
})

t.test('a link that opens a window gets noopener and noreferrer', async t => {
  becomes(t, '<a href="x" target=_blank>x</a>', '<a href="x" target="_blank" rel="noopener noreferrer">x</a>')
  becomes(
    t, '<a href="x" rel=ugc target=_blank>x</a>', '<a href="x" rel="noopener noreferrer ugc" target="_blank">x</a>'
  )
})

t.test('joiners written as character references are kept or removed by their neighbours', async t => {
  becomes(t, 'می&zwnj;خواهم', 'می\u200Cخواهم')
  becomes(t, '👩&#x200d;🔥', '👩\u200D🔥')
  becomes(t, 'a&zwj;b', 'ab', { invisible: 1 })
})

t.test('normalizing never creates markup', async t => {
  t.equal(clean('＜b＞x', { normalization: 'NFKC' }).html, '&lt;b&gt;x')
  t.equal(clean('<p title="＂＞">x</p>', { normalization: 'NFKC' }).html, '<p title="&quot;&gt;">x</p>')
  t.equal(clean('<b>x</b>\u0338').html, '<b>x</b>\u0338', 'the end of a tag takes no accent')
})

t.test('elements nested as no parser reads them are cleaned until they are stable', async t => {
  becomes(t, '<p><foo><div>x</div></foo></p>', '<p></p><div>x</div><p></p>', { element: 1 })
  t.equal(
    cleanHtml('<p><foo><div>&lt;x</div></foo></p>', 'NFC', () => {}, 1), '&lt;x',
    'only the text is left if they do not become stable'
  )
  t.equal(cleanHtml('a<p><foo><div>b</div>c</foo></p>', 'NFC', () => {}, 1), 'a b c')
})

t.test('rejects HTML that is too deep or too large, and removes URLs that are too long', async t => {
  t.throws(() => clean('<b>'.repeat(513)), { name: 'ProcessorError', code: 'HTML_TOO_DEEP', retryable: false })
  t.equal(clean('<b>'.repeat(512)).html.length, 512 * 7)
  t.throws(() => clean('é'.repeat(2 * 1024 * 1024 + 1)), {
    name: 'ProcessorError', code: 'INPUT_TOO_LARGE', retryable: false
  })
  t.equal(clean('é'.repeat(2 * 1024 * 1024)).html.length, 2 * 1024 * 1024, 'bytes count, to the last')
  becomes(t, `<a href="/${'x'.repeat(8192)}">x</a>`, '<a>x</a>', { url: 1 })
})
