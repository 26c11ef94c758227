import { inspect } from 'node:util'
import { Parser, type Result } from 'tap-parser'

/** What a run came to; a test is a named block without blocks of its own (or a file without any). */
export interface Tally {
  passed: number
  failed: number
  skipped: number
}

/** Where the lines for people go. */
export type Write = (line: string) => void

function diagnosticLines (diag: Record<string, unknown> | null, indent: string): string[] {
  if (!diag) return []
  return Object.entries(diag).flatMap(([key, value]) => {
    const text = typeof value === 'string' ? value.trimEnd() : inspect(value, { breakLength: Infinity })
    const lines = text.split('\n')
    return lines.length === 1
      ? [`${indent}${key}: ${text}`]
      : [`${indent}${key}:`, ...lines.map(line => `${indent}  ${line}`)]
  })
}

function watch (parser: Parser, path: string[], tally: Tally, write: Write): { blocks: number; ownFailure: boolean } {
  const seen = { blocks: 0, ownFailure: false }
  let child: { name: string; blocks: number; ownFailure: boolean; failedBefore: number } | undefined

  parser.on('child', (block: Parser) => {
    seen.blocks++
    child = { name: block.name, blocks: 0, ownFailure: false, failedBefore: tally.failed }
    const current = child
    const inner = watch(block, [...path, block.name], tally, write)
    block.on('complete', () => Object.assign(current, inner))
  })

  parser.on('assert', (result: Result) => {
    const closed = child !== undefined && child.name === result.name ? child : undefined
    child = undefined
    const skipped = result.skip !== false || result.todo !== false
    if (!closed) {
      // A block that is skipped has no inside, so it shows up as a mere point.
      if (skipped) tally.skipped++
      else if (!result.ok) seen.ownFailure = true
      if (!result.ok && !skipped) {
        write(`  not ok ${[...path, result.name].join(' > ')}`)
        for (const line of diagnosticLines(result.diag as Record<string, unknown> | null, '    ')) write(line)
      }
    } else if (skipped) {
      tally.skipped++
    } else if (closed.blocks === 0) {
      if (result.ok) tally.passed++
      else tally.failed++
    } else if (!result.ok && (closed.ownFailure || tally.failed === closed.failedBefore)) {
      tally.failed++
    }
    if (closed && path.length === 0) {
      const verdict = skipped ? 'skip' : result.ok ? 'ok  ' : 'FAIL'
      write(`${verdict} ${result.name} (${Math.round(result.time ?? 0)} ms)`)
    }
  })
  return seen
}

/**
 * Reads the TAP of a whole run, writes a line a file and the diagnostics of every failure, and resolves to the count.
 * Failures outside any file count too: they stand for a file that was lost.
 */
export function readTap (input: NodeJS.ReadableStream, write: Write): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 }
  return new Promise(resolve => {
    const parser = new Parser(results => {
      if (root.ownFailure || (!results.ok && tally.failed === 0)) tally.failed++
      resolve(tally)
    })
    const root = watch(parser, [], tally, write)
    parser.on('extra', (text: string) => { write(text.trimEnd()) })
    input.pipe(parser)
  })
}
