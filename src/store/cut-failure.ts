import type { Failure } from '../job/job.ts'
import { truncatedDetailsJson, unspecifiedCode } from '../job/recorded/texts.ts'

/*
 * Reads what a database returned of a failure text that is too long to be read whole: the beginning of an object, a
 * string or any text. Only the outermost members that begin before the cut can be seen.
 */

/** Of a longer failure text no more than this is read, in characters. Failures of this service's workers are shorter. */
export const failureTextMax = 64 * 1024

/** A text of more bytes is not read at all: to cut one, a database reads it whole, and 4 MiB take 4 ms. */
export const failureBytesMax = 4 * 1024 * 1024

// A string, its end perhaps missing; a bracket, comma or colon; or anything else up to one of these.
const token = /\s*("[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?$)|[{}[\],:]|[^\s"{}[\],:]+)/ys

const escapeLengthMax = '\\uffff'.length

// The characters of a string; of one whose end is missing those that are there, marked, without a torn escape sequence.
const readString = (text: string): string | undefined => {
  for (const end of ['', '"']) {
    for (let dropped = 0; dropped < escapeLengthMax; dropped++) {
      try {
        const characters = JSON.parse(text.slice(0, text.length - dropped) + end) as string
        return end === '' ? characters : `${characters}…`
      } catch {
        if (end === '') break
      }
    }
  }
  return undefined
}

type Members = { code?: string, message?: string, hasDetails: boolean }

const readMembers = (text: string): Members => {
  const members: Members = { hasDetails: false }
  let depth = 0
  let name: string | undefined
  token.lastIndex = 0
  for (let found = token.exec(text)?.[1]; found !== undefined; found = token.exec(text)?.[1]) {
    if (found === '{' || found === '[') depth++
    else if (found === '}' || found === ']') depth--
    else if (depth !== 1 || found === ':') continue
    else if (found === ',') name = undefined
    else if (!found.startsWith('"')) continue
    else if (name === undefined) name = readString(found)
    else if (name === 'code' || name === 'message') members[name] = readString(found) ?? ''
    if (name === 'details') members.hasDetails = true
  }
  return members
}

/** The failure whose text begins like this. */
export const toCutFailure = (text: string): Failure => {
  const begins = text.trimStart()
  if (begins.startsWith('"')) return { code: unspecifiedCode, message: readString(begins) ?? text }
  if (!begins.startsWith('{')) return { code: unspecifiedCode, message: text }
  const { code = '', message, hasDetails } = readMembers(begins)
  if (code === '') {
    return message === undefined
      ? { code: unspecifiedCode, message: text }
      : { code: unspecifiedCode, message, detailsJson: truncatedDetailsJson }
  }
  const shown = message ?? 'The message is not shown: it stands too far behind in the recorded failure.'
  return hasDetails ? { code, message: shown, detailsJson: truncatedDetailsJson } : { code, message: shown }
}
