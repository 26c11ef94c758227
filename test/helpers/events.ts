import type { Ask, Client } from './client.ts'

/** An event as it came; `retry` and comments are left out. */
export type ReceivedEvent = { event: string, id: string | null, data: string }

const parse = (block: string): ReceivedEvent | undefined => {
  const fields = new Map(block.split('\n').filter(line => !line.startsWith(':')).map(line => {
    const [name = '', ...value] = line.split(': ')
    return [name, value.join(': ')] as const
  }))
  const data = fields.get('data')
  return data === undefined ? undefined : { event: fields.get('event') ?? 'message', id: fields.get('id') ?? null, data }
}

/** A stream of events as `fetch` gives it. `next` resolves with the next event, undefined at the end. */
export const openEvents = async ({ ask }: Pick<Client, 'ask'>, path: string, options: Ask = {}) => {
  const answer = await ask(path, options)
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const readBlock = async (): Promise<string | undefined> => {
    for (;;) {
      const end = text.indexOf('\n\n')
      if (end >= 0) {
        const block = text.slice(0, end)
        text = text.slice(end + 2)
        return block
      }
      const { value, done } = await reader?.read() ?? { value: undefined, done: true }
      if (done) return undefined
      text += value
    }
  }
  return {
    answer,
    /** The next block of lines, comments too. */
    readBlock,
    next: async (): Promise<ReceivedEvent | undefined> => {
      for (;;) {
        const block = await readBlock()
        if (block === undefined) return undefined
        const event = parse(block)
        if (event !== undefined) return event
      }
    },
    close: async () => { await reader?.cancel() }
  }
}
