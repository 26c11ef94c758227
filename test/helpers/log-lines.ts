import { until } from './until.ts'

/*
 * What a service process has logged of its state.
 */

/** Waits until a process has logged a line with this text: its log and its answers come on two ways, in any order. */
export const hasLogged = async ({ lines }: { lines: readonly string[] }, text: string): Promise<boolean> =>
  await until(() => lines.some(line => line.includes(text)), `the line "${text}"`)

type Line = {
  level: number, msg: string, part?: string, reason?: string, err?: { message: string, code?: string }
}

const parse = (lines: readonly string[]): Line[] =>
  lines.filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Line)

/** What it said of the store: whether it can be read. */
export const storeLines = (lines: readonly string[]): string[] =>
  parse(lines).map(({ msg }) => msg).filter(msg => /^the store (can|cannot) be read/.test(msg))

/** What was warned of, with the part of the service that did; the cache aside, which may change more than once. */
export const warningsIn = (lines: readonly string[]): string[] => parse(lines)
  .filter(({ level, msg }) => level >= 40 && !msg.startsWith('cache '))
  .map(({ msg, part = '' }) => `${msg} ${part}`)
