import { styleText } from 'node:util'
import type { Task } from '../client/client.ts'

/*
 * What commands print: lines for people, with colours on a terminal, or JSON for programs.
 */

export type OutputOptions = { json?: boolean }

// NO_COLOR, FORCE_COLOR and streams that are no terminals are what styleText looks at.
const paint = (style: Parameters<typeof styleText>[0], text: string): string => styleText(style, text, { stream: process.stdout })

const styles = { queued: 'cyan', running: 'blue', succeeded: 'green', failed: 'red', cancelled: 'yellow' } as const

// What a worker reports must not control the terminal.
const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{fffd}')

/** One line of a job: its state, id, type, percent and what its worker says. */
export const toLine = ({ taskId, type, status, progress: { percent, message }, failure, createdAt }: Task): string => {
  const said = failure === null ? message : `${failure.code}: ${failure.message}`
  return [
    paint(styles[status], status.padEnd(9)), taskId, (type ?? '-').padEnd(12), `${percent}%`.padStart(4), createdAt,
    ...said === null ? [] : [said]
  ].map((text, at) => at === 0 ? text : printable(text)).join('  ')
}

const toFields = (task: Task): Array<[string, string]> => {
  const { progress: { percent, stage, message, done, total, etaSeconds }, failure } = task
  const fields: Array<[string, string | number | null]> = [
    ['type', task.type], ['progress', [`${percent}%`, done === null ? '' : `${done} of ${total ?? '?'}`, stage, message].filter(Boolean).join(', ')],
    ['attempt', task.attempt], ['created', task.createdAt], ['started', task.startedAt], ['finished', task.finishedAt],
    ['left', etaSeconds === null ? null : `${etaSeconds} s`],
    ['cancel', task.cancelRequested && !task.isTerminal ? 'requested' : null],
    ['result', task.resultUrl], ['failure', failure === null ? null : `${failure.code}: ${failure.message}`]
  ]
  return fields.filter((field): field is [string, string] => field[1] !== null).map(([name, value]) => [name, String(value)])
}

/** A job in several lines. */
export const toText = (task: Task): string => [
  `${paint(styles[task.status], task.status)}  ${task.taskId}`,
  ...toFields(task).map(([name, value]) => `  ${name.padEnd(9)} ${printable(value)}`)
].join('\n')

/** Prints one value: as JSON in one line, or as text. */
export const print = ({ json = false }: OutputOptions, value: unknown, text: () => string): void => {
  process.stdout.write(`${json ? JSON.stringify(value) : text()}\n`)
}
