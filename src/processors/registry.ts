import type { Processor } from './processor.ts'
import { reportProcessor } from './report/processor.ts'
import { sanitizeProcessor } from './sanitize/processor.ts'

// To add a processor, import it above and add its line here.
const list: Processor[] = [
  reportProcessor,
  sanitizeProcessor
]

/** The processors of the embedded worker, by job type. */
export const processors: ReadonlyMap<string, Processor> = new Map(list.map(processor => [processor.type, processor]))
