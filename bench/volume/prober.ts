import { startLoad } from '../load.ts'

/*
 * Sends a few requests from a separate process, so that their latencies are those of the service and not of a busy
 * generator. It sends `answered` after the first response. On the message `end` it stops and sends the responses that
 * it received.
 */

/** The first message that it receives. `request` is in base64. */
export type Probe = { url: string, request: string, connections: number, rate: number }

/** The message that it sends at the end: status code and latency in ms of each response. */
export type Answers = Array<[status: number, ms: number]>

const start = ({ url, request, connections, rate }: Probe) => {
  const bytes = Buffer.from(request, 'base64')
  let answers: Answers = []
  let isAnswered = false
  const load = startLoad({
    url,
    connections,
    rate,
    nextRequest: () => bytes,
    expectedStatus: 200,
    onAnswer: (status, ms) => {
      answers.push([status, ms])
      if (!isAnswered) process.send?.('answered')
      isAnswered = true
    }
  })
  return {
    begin: () => { answers = [] },
    end: async () => {
      await load.stop()
      process.send?.(answers, () => { process.exit() })
    }
  }
}

let probing: ReturnType<typeof start> | undefined

process.on('message', (message: Probe | 'begin' | 'end') => {
  if (typeof message === 'object') probing = start(message)
  else if (message === 'begin') probing?.begin()
  else void probing?.end()
})
process.once('disconnect', () => { process.exit() })
