import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Answers, Probe } from './prober.ts'

/** A process that sends a few requests. `begin` forgets what was answered so far; `end` ends the process. */
export type Prober = { begin: () => void, end: () => Promise<Answers> }

/** Starts a prober and waits for its first answer. `request`: the bytes of the request that it repeats. */
export const startProber = async (probe: Omit<Probe, 'request'> & { request: Buffer }): Promise<Prober> => {
  const child = fork(fileURLToPath(new URL('prober.ts', import.meta.url)))
  const isAnswered = once(child, 'message')
  const message: Probe = { ...probe, request: probe.request.toString('base64') }
  child.send(message)
  await isAnswered
  return {
    begin: () => { child.send('begin') },
    end: async () => {
      const answers = once(child, 'message')
      child.send('end')
      return (await answers)[0] as Answers
    }
  }
}
