import { request } from 'node:http'
import { text } from 'node:stream/consumers'

/** What a control needs to send the same bytes as the service. */
export type Answer = { status: number, headers: Record<string, string | string[]>, body: string }

// Those that Node or Fastify adds to each answer.
const ofServer = ['connection', 'content-length', 'date', 'keep-alive', 'transfer-encoding']

/** Sends the bytes of a request without a body, and resolves to the answer of the server. */
export const readAnswer = async (url: string, bytes: Buffer): Promise<Answer> => {
  const [first = '', ...lines] = bytes.toString().trimEnd().split('\r\n')
  const [method, path] = first.split(' ')
  const fields = lines.map(line => line.split(/: (.*)/, 2) as [string, string])
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const sent = request(url, { method, path, headers: Object.fromEntries(fields), agent: false }, response => {
    const headers = Object.entries(response.headersDistinct).filter(([name]) => !ofServer.includes(name))
      .map(([name, values = []]) => [name, values.length === 1 ? values[0] : values])
    text(response).then(body => {
      resolve({ status: response.statusCode ?? 0, headers: Object.fromEntries(headers) as Answer['headers'], body })
    }, reject)
  })
  sent.on('error', reject).end()
  return await promise
}
