import { JobServiceError } from './errors.ts'
import type { components } from './openapi.ts'
import { createRetry, open, type Transport } from './transport.ts'
import { type Task, taskPath } from './wait-for.ts'

/** A state of a job; `gone`: it was erased, or is no longer for this token. */
export type JobEvent = { kind: 'status', task: Task } | { kind: 'gone' }

type ServerSentEvent = { event: string | undefined, id: string | undefined, data: string | undefined }

// The service sends a comment every 15 s.
const streamIdleMsMax = 45_000

/** Reads the next chunk. Throws if nothing comes for too long: then the connection is dead. */
export const readChunk = async (
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, idleMs: number
): Promise<Uint8Array<ArrayBuffer> | undefined> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const idle = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => { reject(new JobServiceError('UNREACHABLE', 'nothing arrives')) }, idleMs)
  })
  try {
    return (await Promise.race([reader.read(), idle])).value
  } finally {
    clearTimeout(timer)
  }
}

const parseBlock = (block: string): ServerSentEvent => {
  const field = (name: string): string | undefined => RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1]
  return { event: field('event'), id: field('id'), data: field('data') }
}

/** The events of a body (https://html.spec.whatwg.org/#server-sent-events), as the service writes them. */
async function * readEvents (body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<ServerSentEvent, void, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (let chunk; (chunk = await readChunk(reader, streamIdleMsMax)) !== undefined;) {
      const blocks = (text + decoder.decode(chunk, { stream: true })).split('\n\n')
      text = blocks.pop() ?? ''
      yield * blocks.map(parseBlock)
    }
  } finally {
    void reader.cancel().catch(() => {})
  }
}

/** The states of a job: the current one, and each newer one. Ends after the last; connects again where it is cut off. */
export async function * events (
  transport: Transport, jobId: string, { signal }: { signal?: AbortSignal | undefined }
): AsyncGenerator<JobEvent, void, void> {
  const retry = createRetry(transport)
  let lastId: string | undefined
  for (;;) {
    const answer = await open(transport, taskPath(jobId, '/events'), {
      headers: { accept: 'text/event-stream', ...lastId === undefined ? {} : { 'last-event-id': lastId } }, signal
    })
    // 204: the last event was the end.
    if (answer.body === null) return
    let failure: unknown = new JobServiceError('UNREACHABLE', 'ended early')
    try {
      for await (const { event, id, data } of readEvents(answer.body)) {
        if (event === 'gone') return yield { kind: 'gone' }
        if (event !== 'status' || data === undefined) continue
        lastId = id
        retry.answered()
        const { data: task } = JSON.parse(data) as components['schemas']['TaskStatus']
        yield { kind: 'status', task }
        if (task.isTerminal) return
      }
    } catch (error) {
      failure = error
    }
    await retry.failed(failure, 0, signal)
  }
}
