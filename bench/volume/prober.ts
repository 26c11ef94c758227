import { startLoad } from '../load.ts'

/*
 * A few requests from a process of its own, so that their times are the service's, and not those of a generator that is
 * as busy as it. Runs until it is told to end, then sends what it was answered.
 */

/** What it is told first. `request` in base64. */
export type Probe = { url: string, request: string, connections: number, rate: number }

/** What it sends at its end: status code and ms of each answer. */
export type Answers = Array<[status: number, ms: number]>

const start = ({ url, request, connections, rate }: Probe) => {
  const bytes = Buffer.from(request, 'base64')
  let answers: Answers = []
  const load = startLoad({
    url, connections, rate, nextRequest: () => bytes, expectedStatus: 200, onAnswer: (status, ms) => { answers.push([status, ms]) }
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
