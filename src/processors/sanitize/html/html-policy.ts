const textTags = [
  'a', 'abbr', 'b', 'bdi', 'br', 'cite', 'code', 'data', 'del', 'dfn', 'em', 'i', 'ins', 'kbd', 'mark', 'q', 'rp', 'rt',
  'ruby', 's', 'samp', 'small', 'span', 'strong', 'sub', 'sup', 'time', 'u', 'var', 'wbr'
]

const blockTags = [
  'address', 'article', 'aside', 'blockquote', 'caption', 'col', 'colgroup', 'dd', 'details', 'div', 'dl', 'dt',
  'figcaption', 'figure', 'footer', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'header', 'hgroup', 'hr', 'img', 'li', 'main',
  'nav',
  'ol', 'p', 'pre', 'section', 'summary', 'table', 'tbody', 'td', 'tfoot', 'th', 'thead', 'tr', 'ul'
]

/** Elements that are kept. `bdo` is left out on purpose: it is a bidirectional override. */
export const allowedTags = [...textTags, ...blockTags]

/** Elements that are removed with their content. Other elements that are not allowed leave their content. */
export const tagsWithoutText = [
  'script', 'style', 'template', 'noscript', 'iframe', 'noembed', 'noframes', 'object', 'applet', 'embed', 'svg',
  'math',
  'textarea', 'select', 'option', 'title', 'xmp', 'plaintext', 'audio', 'video', 'canvas', 'frameset'
]

/** Removed elements that a browser shows apart from the text around them: without them, words would be joined. */
export const separatingTags: ReadonlySet<string> = new Set([
  'applet', 'audio', 'body', 'button', 'canvas', 'center', 'dialog', 'dir', 'embed', 'fieldset', 'form', 'frameset',
  'html', 'iframe', 'input', 'legend', 'listing', 'marquee', 'math', 'menu', 'meter', 'object', 'optgroup', 'option',
  'plaintext', 'progress', 'search', 'select', 'svg', 'textarea', 'video', 'xmp'
])

/** Kept elements that separate texts by themselves. */
export const separatingKeptTags: ReadonlySet<string> = new Set([...blockTags, 'br'])

export const voidTags = ['br', 'col', 'hr', 'img', 'wbr']

/** Attributes whose value is a URL. */
export const urlAttributes: ReadonlySet<string> = new Set(['cite', 'href', 'src'])

export const allowedSchemes = ['http', 'https', 'mailto']
export const imageSchemes = ['http', 'https']

/** Attributes without a value. */
export const flagAttributes: ReadonlySet<string> = new Set(['open', 'reversed'])

const size = /^\d{1,5}%?$/
const count = /^\d{1,5}$/
const direction = /^(?:ltr|rtl|auto)$/
const anything = /./su

type Rules = Readonly<Record<string, RegExp>>

const everywhere: Rules = { dir: direction, lang: /^[A-Za-z0-9-]{1,35}$/, title: anything }
const cell: Rules = { colspan: count, rowspan: count, abbr: anything, scope: /^(?:row|col|rowgroup|colgroup)$/ }
const change: Rules = { cite: anything, datetime: anything }

// No `id`, `name`, `class` or `style`: they reach into the page around the fragment.
const byTag: Readonly<Record<string, Rules>> = {
  a: { href: anything, hreflang: anything, target: /^_blank$/, rel: anything },
  blockquote: { cite: anything },
  col: { span: count },
  colgroup: { span: count },
  data: { value: anything },
  del: change,
  details: { open: /^/ },
  img: { src: anything, alt: /^/, width: size, height: size, loading: /^(?:lazy|eager)$/ },
  ins: change,
  li: { value: /^-?\d{1,5}$/ },
  ol: { start: /^-?\d{1,5}$/, type: /^[1aAiI]$/, reversed: /^/ },
  q: { cite: anything },
  td: cell,
  th: cell,
  time: { datetime: anything }
}

/** The names of the attributes that an element may have, in the form of sanitize-html. */
export const allowedAttributes: Record<string, string[]> = {
  '*': Object.keys(everywhere),
  ...Object.fromEntries(Object.entries(byTag).map(([tag, rules]) => [tag, Object.keys(rules)]))
}

/** The pattern for the value of an attribute; undefined if the element may not have the attribute. */
export const findAttributeRule = (tag: string, attribute: string): RegExp | undefined => {
  for (const rules of [byTag[tag], everywhere]) {
    if (rules !== undefined && Object.hasOwn(rules, attribute)) return rules[attribute]
  }
  return undefined
}

const windowTypes = ['noopener', 'noreferrer']
const descriptiveTypes = ['external', 'nofollow', 'noopener', 'noreferrer', 'sponsored', 'ugc']

/**
 * The link types of a `rel` that are kept. A link that opens a window gets the two that keep it from reaching ours.
 */
export const toRel = (rel: string, opensWindow: boolean): { rel: string, lostSome: boolean } => {
  const given = new Set(rel.toLowerCase().split(/\s+/).filter(type => type !== ''))
  const kept = descriptiveTypes.filter(type => given.has(type) || (opensWindow && windowTypes.includes(type)))
  return { rel: kept.join(' '), lostSome: [...given].some(type => !descriptiveTypes.includes(type)) }
}
