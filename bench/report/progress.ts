type Output = { write(text: string): unknown, isTTY?: boolean, columns?: number }

type ProgressNeeds = { stream: Output, total: number, now?: () => number }

const barWidth = 24
const clearLine = '\r\x1b[2K'

const toClock = (ms: number) => {
  const seconds = Math.floor(ms / 1000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

/**
 * Shows the progress of a run of `total` steps. On a terminal it rewrites one line; elsewhere it prints a line for
 * each step. A scenario that is run again adds steps, and the total grows with them.
 */
export const createProgress = ({ stream, total, now = () => performance.now() }: ProgressNeeds) => {
  const isLive = stream.isTTY === true
  const startedAt = now()
  let [begun, label] = [0, '']

  const toCounter = () => {
    const step = String(begun).padStart(String(total).length)
    return `${step}/${Math.max(begun, total)}  ${toClock(now() - startedAt)}`
  }
  const toLine = () => {
    const done = Math.round(barWidth * Math.max(0, begun - 1) / Math.max(begun, total, 1))
    const line = `${'█'.repeat(done)}${'░'.repeat(barWidth - done)}  ${toCounter()}  ${label}`
    // A line that wraps cannot be rewritten.
    return Array.from(line).slice(0, Math.max(0, (stream.columns ?? 80) - 1)).join('')
  }
  const draw = () => stream.write(clearLine + toLine())
  const timer = isLive ? setInterval(draw, 1000).unref() : undefined

  return {
    /** Starts the next step. */
    step: (name: string): void => {
      begun += 1
      label = name.replace(/\s+/g, ' ')
      if (isLive) draw()
      else stream.write(`${toCounter()}  ${label}\n`)
    },
    /** Prints a line that stays on the screen, such as a breach or a repetition. */
    note: (line: string): void => {
      stream.write(`${isLive ? clearLine : ''}${line}\n`)
      if (isLive) draw()
    },
    /** Stops rewriting the line. The number of the last step stays visible. */
    stop: (): void => {
      clearInterval(timer)
      if (isLive) stream.write(`${clearLine}${toCounter()}  done\n`)
    }
  }
}
