import { connect, type Socket } from 'node:net'

/*
 * HTTP/1.1 by hand: what is sent is sent as it stands, and what comes back is read strictly, so that an answer that is
 * not well-formed, or one too many, is seen.
 */

/** One answer as it came. Names in small letters. */
export type RawAnswer = { status: number, headers: Array<[name: string, value: string]>, body: Buffer, length: number }

const statusLine = /^HTTP\/1\.1 (\d{3}) [\x20-\x7e]*$/
const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)$/

const readHeaders = (lines: string[]): RawAnswer['headers'] => lines.map(line => {
  const [, name, value] = headerLine.exec(line) ?? []
  if (name === undefined || value === undefined) throw new Error(`no header: ${JSON.stringify(line)}`)
  return [name.toLowerCase(), value]
})

/** The values of a header, in their order. */
export const valuesOf = ({ headers }: Pick<RawAnswer, 'headers'>, name: string): string[] =>
  headers.filter(([known]) => known === name).map(([, value]) => value)

const readChunks = (bytes: Buffer, start: number): { body: Buffer, length: number } | undefined => {
  const chunks: Buffer[] = []
  for (let at = start; ;) {
    const end = bytes.indexOf('\r\n', at)
    if (end === -1) return undefined
    const line = bytes.toString('latin1', at, end)
    if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`no size of a chunk: ${JSON.stringify(line)}`)
    const size = Number.parseInt(line, 16)
    if (bytes.length < end + 2 + size + 2) return undefined
    if (bytes.toString('latin1', end + 2 + size, end + 4 + size) !== '\r\n') throw new Error('a chunk without an end')
    chunks.push(bytes.subarray(end + 2, end + 2 + size))
    at = end + 4 + size
    if (size === 0) return { body: Buffer.concat(chunks), length: at }
  }
}

const readBody = (bytes: Buffer, start: number, headers: RawAnswer['headers']): {
  body: Buffer, length: number
} | undefined => {
  const lengths = valuesOf({ headers }, 'content-length')
  const codings = valuesOf({ headers }, 'transfer-encoding')
  if (lengths.length + codings.length !== 1) throw new Error(`a body framed ${lengths.length + codings.length} times`)
  if (codings.length === 1) return readChunks(bytes, start)
  const [length = ''] = lengths
  if (!/^\d+$/.test(length)) throw new Error(`no length: ${length}`)
  const end = start + Number(length)
  return bytes.length < end ? undefined : { body: bytes.subarray(start, end), length: end }
}

// A stream goes on until its client has had enough: here after what came with its head.
const readStream = (bytes: Buffer, start: number): { body: Buffer, length: number } | undefined => {
  const whole = readChunks(Buffer.concat([bytes, Buffer.from('0\r\n\r\n')]), start)
  return whole === undefined || whole.body.length === 0 ? undefined : { ...whole, length: bytes.length }
}

const isStream = (headers: RawAnswer['headers']): boolean =>
  valuesOf({ headers }, 'content-type').some(type => type.startsWith('text/event-stream'))

/** The first answer in the bytes, if it is whole; of a stream, its beginning. Throws on what is no answer of HTTP/1.1. */
export const readAnswer = (bytes: Buffer, isHead: boolean): RawAnswer | undefined => {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const status = Number(statusLine.exec(first)?.[1] ?? NaN)
  if (Number.isNaN(status)) throw new Error(`no status: ${JSON.stringify(first.slice(0, 100))}`)
  const headers = readHeaders(lines)
  const start = end + 4
  if (status < 200) {
    const next = readAnswer(bytes.subarray(start), isHead)
    return next === undefined ? undefined : { ...next, length: next.length + start }
  }
  if (isHead || status === 204 || status === 304) return { status, headers, body: Buffer.alloc(0), length: start }
  const read = isStream(headers) ? readStream(bytes, start) : readBody(bytes, start, headers)
  return read === undefined ? undefined : { status, headers, ...read }
}

/** All answers in what a connection brought, of which the last `mayBeCut`. Throws where something else is among them. */
export const readAnswers = (bytes: Buffer, mayBeCut = false): RawAnswer[] => {
  const answers: RawAnswer[] = []
  for (let rest = bytes; rest.length > 0;) {
    const answer = readAnswer(rest, false)
    if (answer === undefined && mayBeCut) break
    if (answer === undefined) {
      throw new Error(`half an answer: ${JSON.stringify(rest.toString('latin1').slice(0, 200))}`)
    }
    answers.push(answer)
    rest = rest.subarray(answer.length)
  }
  return answers
}

/** What became of one request. `more`: bytes behind its answer. */
export type Exchanged =
  | { kind: 'answered', answer: RawAnswer, more: Buffer }
  | { kind: 'closed', bytes: Buffer }
  | { kind: 'silent', bytes: Buffer }
  | { kind: 'malformed', bytes: Buffer, reason: string }

/** A connection that is kept, and opened again when it was closed or forgotten. */
export const createKeptSocket = (port: number) => {
  let socket: Socket | undefined
  const open = (): Socket => {
    const opened = connect({ port, host: '127.0.0.1', noDelay: true })
    opened.on('error', () => {})
    opened.on('close', () => { if (socket === opened) socket = undefined })
    socket = opened
    return opened
  }
  return {
    current: (): Socket => socket ?? open(),
    /** Closes it; the next one is another. */
    destroy: (): void => {
      socket?.destroy()
      socket = undefined
    }
  }
}

/** A connection that is kept, and opened again when it was closed. One request at a time. */
export const createConnection = (port: number, limitMs = 15_000) => {
  const socket = createKeptSocket(port)
  const exchange = (bytes: Buffer, isHead = false): Promise<Exchanged> => new Promise(resolve => {
    const used = socket.current()
    let received = Buffer.alloc(0)
    const finish = (exchanged: Exchanged) => {
      clearTimeout(timer)
      used.off('data', take)
      used.off('close', close)
      const stays = exchanged.kind === 'answered' && exchanged.more.length === 0 && !isStream(exchanged.answer.headers) &&
        !valuesOf(exchanged.answer, 'connection').includes('close')
      if (!stays) socket.destroy()
      resolve(exchanged)
    }
    const take = (data: Buffer) => {
      received = Buffer.concat([received, data])
      try {
        const answer = readAnswer(received, isHead)
        if (answer !== undefined) finish({ kind: 'answered', answer, more: received.subarray(answer.length) })
      } catch (error) {
        finish({ kind: 'malformed', bytes: received, reason: (error as Error).message })
      }
    }
    const close = () => { finish({ kind: 'closed', bytes: received }) }
    const timer = setTimeout(() => { finish({ kind: 'silent', bytes: received }) }, limitMs)
    used.on('data', take)
    used.on('close', close)
    used.write(bytes)
  })
  return { exchange, close: socket.destroy }
}

/**
 * Sends bytes on a connection of their own; all that comes back until it is closed. `lingerMs`: how long the client
 * leaves its half open, after which a request that is not whole cannot become so.
 */
export const sendAlone = (port: number, bytes: Buffer | string, { lingerMs = 20_000, limitMs = 20_000 } = {}): Promise<{
  bytes: Buffer, isClosed: boolean
}> =>
  new Promise(resolve => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    const pieces: Buffer[] = []
    const finish = (isClosed: boolean) => {
      clearTimeout(limit)
      clearTimeout(linger)
      socket.destroy()
      resolve({ bytes: Buffer.concat(pieces), isClosed })
    }
    const limit = setTimeout(() => { finish(false) }, limitMs)
    const linger = setTimeout(() => { socket.end() }, lingerMs)
    socket.on('data', data => { pieces.push(data) })
    socket.on('error', () => {})
    socket.on('end', () => { finish(true) })
    socket.on('close', () => { finish(true) })
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
