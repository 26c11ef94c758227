import type { RequestOptions } from '../../../client/client.ts'
import type { Api } from '../../api/api.ts'

/*
 * What of an input or a result can be shown: the beginning of a text, or a raster image. Everything else is only
 * downloaded: HTML or SVG of a worker, opened by a page of this origin, could take the token.
 */

const textBytesMax = 64 * 1024
const imageBytesMax = 10_000_000
/** Beyond, a download goes straight to the disk, or is left to the command line. */
export const memoryBytesMax = 100_000_000

/** `url`: of a blob in this page. */
export type Preview =
  | { kind: 'text', text: string, isCut: boolean }
  | { kind: 'image', url: string }
  | { kind: 'none' }

/** `sizeBytes` null: the service does not say. */
export type Content = { preview: Preview, mediaType: string, sizeBytes: number | null, fileName: string }

const rasterTypes: readonly string[] = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif', 'image/bmp']
const textTypes = /^(text\/.*|application\/(.*\+)?(json|xml|yaml|x-yaml|x-ndjson|javascript|sql|toml))$/

const toMediaType = (contentType: string | null): string => contentType?.split(';', 1)[0]?.trim().toLowerCase() ?? ''

/** The name in a Content-Disposition (RFC 6266); the given one if there is none. */
export const toFileName = (disposition: string | null, otherwise: string): string => {
  const extended = /filename\*=UTF-8''([^;]+)/i.exec(disposition ?? '')?.[1]
  const plain = /filename="([^"]*)"/i.exec(disposition ?? '')?.[1]
  try {
    return (extended === undefined ? plain : decodeURIComponent(extended)) ?? otherwise
  } catch {
    return plain ?? otherwise
  }
}

/** The first bytes of a body; the rest is not asked for. */
const readBeginning = async (response: Response, bytesMax: number): Promise<{ bytes: Uint8Array, isCut: boolean }> => {
  const reader = response.body?.getReader()
  const chunks: Uint8Array[] = []
  let length = 0
  while (reader !== undefined && length <= bytesMax) {
    const { value, done } = await reader.read()
    if (done) break
    chunks.push(value)
    length += value.length
  }
  await reader?.cancel()
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return { bytes: bytes.subarray(0, bytesMax), isCut: length > bytesMax }
}

export type LoadContentNeeds = { api: Api, createUrl: (blob: Blob) => string }

/** Loads what can be shown of the bytes at a path. */
export const loadContent = async (
  { api, createUrl }: LoadContentNeeds, path: string, fileName: string, options: RequestOptions
): Promise<Content> => {
  const response = await api.request(path, { ...options, headers: { accept: '*/*' } })
  const mediaType = toMediaType(response.headers.get('content-type'))
  const length = response.headers.get('content-length')
  const sizeBytes = length === null ? null : Number(length)
  const toPreview = async (): Promise<Preview> => {
    if (textTypes.test(mediaType)) {
      const { bytes, isCut } = await readBeginning(response, textBytesMax)
      return { kind: 'text', text: new TextDecoder().decode(bytes, { stream: isCut }), isCut }
    }
    if (rasterTypes.includes(mediaType) && sizeBytes !== null && sizeBytes <= imageBytesMax) {
      return { kind: 'image', url: createUrl(new Blob([await response.arrayBuffer()], { type: mediaType })) }
    }
    await response.body?.cancel()
    return { kind: 'none' }
  }
  const preview = await toPreview()
  return { preview, mediaType, sizeBytes, fileName: toFileName(response.headers.get('content-disposition'), fileName) }
}
