import { once } from 'node:events'
import { connect } from 'node:net'

/*
 * A keep-alive connection that sends one request after the other. The generator shares the machine with what it
 * measures, and fetch takes several times as much CPU for a request.
 */

export type Answer = { status: number, body: string }

export type Connection = {
  post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<Answer>
  close: () => void
}

const headEnd = '\r\n\r\n'

// Bodies are JSON of ASCII characters.
const toAnswer = (text: string): Answer | undefined => {
  const bodyAt = text.indexOf(headEnd) + headEnd.length
  if (bodyAt < headEnd.length) return undefined
  const head = text.slice(0, bodyAt)
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0)
  if (text.length < bodyAt + length) return undefined
  const status = Number(head.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length))
  return { status, body: text.slice(bodyAt, bodyAt + length) }
}

/** Opens a connection that sends these headers with each request. Its promises reject if the connection breaks. */
export const openConnection = async (url: string, headers: Record<string, string> = {}): Promise<Connection> => {
  const { hostname, port, host } = new URL(url)
  const socket = connect(Number(port), hostname).setNoDelay(true).setEncoding('latin1')
  await once(socket, 'connect')
  const lines = (all: Record<string, string>): string =>
    Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const common = lines({ host, 'content-type': 'application/json', ...headers })
  let received = ''
  let waiting: { resolve: (answer: Answer) => void, reject: (error: Error) => void } | undefined
  socket.on('data', (text: string) => {
    received += text
    const answer = toAnswer(received)
    if (answer === undefined) return
    received = ''
    waiting?.resolve(answer)
  })
  socket.on('error', error => { waiting?.reject(error) })
  socket.on('close', () => { waiting?.reject(new Error(`${url} closed the connection`)) })
  return {
    post: (path, body, own = {}) => new Promise((resolve, reject) => {
      waiting = { resolve, reject }
      const text = JSON.stringify(body)
      const specific = lines({ 'content-length': String(text.length), ...own })
      socket.write(`POST ${path} HTTP/1.1\r\n${common}${specific}\r\n${text}`)
    }),
    close: () => { socket.destroy() }
  }
}
