import { setTimeout as delay } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { type Processor, ProcessorError } from '../../src/processors/registry.ts'

/*
 * Real processors, in real threads, that do what a test needs.
 */

const any = { inputSchema: Type.Unknown(), needsScopes: [] }
let flakes = 0

const list: Processor[] = [
  {
    ...any,
    type: 'echo',
    run: (input, { progress }) => {
      progress({ percent: 50, stage: 'echoing' })
      const { text } = input as { text: string }
      return Promise.resolve({ contentType: 'application/json', fileName: 'echo.json', message: 'echoed', body: [Buffer.from(text)] })
    }
  },
  { ...any, type: 'stall', run: () => new Promise(() => { setInterval(() => {}, 60_000) }) },
  {
    ...any,
    type: 'refuse',
    run: () => Promise.reject(new ProcessorError('REFUSED', 'no', { details: { why: 1 } }))
  },
  {
    ...any,
    type: 'break',
    run: () => Promise.resolve({
      contentType: 'text/plain',
      fileName: 'a.txt',
      body: (function * () {
        yield Buffer.alloc(200_000)
        throw new Error('half way')
      })()
    })
  },
  {
    ...any,
    type: 'slow',
    run: async input => {
      await delay((input as { ms: number }).ms)
      return { contentType: 'text/plain', fileName: 'a.txt', body: [Buffer.from('slow')] }
    }
  },
  { ...any, type: 'crash', run: () => Promise.reject(new Error('unexpected')) },
  {
    ...any,
    type: 'flaky',
    run: () => flakes++ === 0
      ? Promise.reject(new Error('the first time'))
      : Promise.resolve({ contentType: 'text/plain', fileName: 'a.txt', body: [] })
  }
]

export const processors: ReadonlyMap<string, Processor> = new Map(list.map(processor => [processor.type, processor]))
