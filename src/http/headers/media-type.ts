/** The type and subtype of a Content-Type in small letters, without its parameters (RFC 9110, 8.3.1). */
export const mediaTypeOf = (contentType: string): string => contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''

/** How much an `Accept` wants a media type (RFC 9110, 12.5.1): from 0, not at all, to 1. */
export const qualityOf = (accept: string, mediaType: string): number => {
  const [type = ''] = mediaType.split('/')
  let best = { specificity: -1, quality: 0 }
  for (const part of accept.split(',')) {
    const [range = '', ...parameters] = part.split(';').map(text => text.trim().toLowerCase())
    const specificity = ['*/*', `${type}/*`, mediaType].indexOf(range)
    if (specificity <= best.specificity) continue
    const quality = parameters.find(parameter => parameter.startsWith('q='))
    best = { specificity, quality: quality === undefined ? 1 : Number(quality.slice(2)) || 0 }
  }
  return best.quality
}
/** Whether an `Accept` names a media type, and wants it at least as much as JSON. Ranges like text/* do not name it. */
export const prefersOverJson = (accept: string, mediaType: string): boolean => {
  const quality = qualityOf(accept, mediaType)
  const isNamed = accept.split(',').some(part => mediaTypeOf(part) === mediaType)
  return isNamed && quality > 0 && quality >= qualityOf(accept, 'application/json')
}
