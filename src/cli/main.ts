#!/usr/bin/env node
import { createProgram } from './program.ts'
import { exitCodes, toFailure } from './exit.ts'

/*
 * The command line `job-status`: what any client of the API can do.
 */

// A reader like `head` may have enough before the end.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

try {
  await createProgram().parseAsync()
} catch (error) {
  const { line, code } = toFailure(error)
  if (line !== '') process.stderr.write(`${line}\n`)
  process.exitCode = code
  // A stream or a timer must not hold back a failure.
  if (code !== exitCodes.succeeded) process.exit()
}
