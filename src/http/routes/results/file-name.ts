/** In UTF-8. Most file systems take 255, and a browser may add a number to the name. */
const fileNameBytesMax = 200

// One or two, as in .tar.gz.
const extensionExpression = /(?:\.[A-Za-z0-9]{1,12}){1,2}$/

/** Shortens a file name to at most 200 bytes of UTF-8. Its extension stays, and no grapheme is cut in two. */
export const shortenFileName = (name: string): string => {
  if (Buffer.byteLength(name) <= fileNameBytesMax) return name
  const extension = extensionExpression.exec(name)?.[0] ?? ''
  const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
  const stem = name.slice(0, name.length - extension.length)
  let shortened = ''
  let bytes = Buffer.byteLength(extension)
  for (const { segment } of graphemes.segment(stem)) {
    bytes += Buffer.byteLength(segment)
    if (bytes > fileNameBytesMax) break
    shortened += segment
  }
  return shortened + extension
}
