import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { Json } from '../../helpers/client.ts'
import type { Item, Node } from './workflow.ts'

/*
 * The HTTP Request node: one connection a request, no conditional headers, redirects followed, Retry-After ignored.
 */

const accept = {
  autodetect: 'application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7',
  file: 'application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7'
}

type Request = { url: URL, method: string, headers: Record<string, string>, body?: string, timeoutMs: number }

const send = async ({ url, method, headers, body, timeoutMs }: Request): Promise<IncomingMessage> => {
  const request = http.request(url, {
    method, agent: false, signal: AbortSignal.timeout(timeoutMs), headers: { ...headers, connection: 'close' }
  })
  request.end(body)
  const [response] = await once(request, 'response') as [IncomingMessage]
  const { statusCode = 0, headers: { location } } = response
  if (statusCode < 300 || statusCode > 399 || location === undefined) return response
  response.resume()
  const { authorization: _, ...others } = headers
  return await send({ url: new URL(location, url), method: 'GET', headers: others, timeoutMs })
}

const toText = (value: Json): string => typeof value === 'string' ? value : JSON.stringify(value)

/** Sends the request of a node; its parameters are resolved. `token` is that of its credential. */
export const requestOnce = async (node: Node, parameters: Json, token: string): Promise<Item> => {
  const { method = 'GET', url, headerParameters, jsonBody, options } = parameters
  const { fullResponse, neverError, responseFormat = 'autodetect', outputPropertyName } = options.response.response
  const sent = Object.fromEntries((headerParameters?.parameters ?? []).map(({ name, value }: Json) => [name, value]))
  const response = await send({
    url: new URL(url),
    method,
    timeoutMs: options.timeout ?? 300_000,
    headers: {
      accept: accept[responseFormat as keyof typeof accept],
      authorization: `Bearer ${token}`,
      ...sent,
      ...jsonBody === undefined ? {} : { 'content-type': 'application/json' }
    },
    ...jsonBody === undefined ? {} : { body: toText(jsonBody) }
  })
  const { statusCode = 0, statusMessage, headers } = response
  const data = await buffer(response)
  if (neverError !== true && (statusCode < 200 || statusCode > 299)) throw new Error(`${node.name}: ${statusCode}`)
  const mimeType = (headers['content-type'] ?? '').split(';')[0] ?? ''
  const shown = { headers, statusCode, statusMessage }
  if (responseFormat === 'file') return { json: shown, binary: { [outputPropertyName]: { data, mimeType } } }
  if (mimeType !== 'application/json') return { json: { data: data.toString(), ...shown } }
  const body = JSON.parse(data.toString())
  return { json: fullResponse === true ? { body, ...shown } : body }
}
