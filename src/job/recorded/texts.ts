import type { Failure } from '../job.ts'
import { jsonDepthMax } from '../json/flaw.ts'
import { jsonTextDepth } from '../json/text.ts'
import type { ProgressUpdate } from '../progress.ts'

/*
 * What is kept of the texts that a worker sends, and how much is shown of those that other programs wrote. A report must
 * not fail because of its wording: then the end of a job would be lost and the job would run again. So a text that is
 * too long is shortened, not rejected.
 */

/** The longest texts that are kept whole, in code points. */
export const textLengths = { code: 100, message: 2000, stage: 100, progressMessage: 1000 } as const

/** Larger details are replaced. */
export const detailsBytesMax = 16 * 1024

/** What stands in place of details that are too large. */
export const truncatedDetails = { truncated: true } as const
export const truncatedDetailsJson = JSON.stringify(truncatedDetails)

/** The code of a failure that came without one. */
export const unspecifiedCode = 'UNSPECIFIED'

let graphemes: Intl.Segmenter | undefined

const endOfPoints = (text: string, count: number): number => {
  let end = 0
  for (let point = 0; point < count && end < text.length; point++) end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1
  return end
}

// A segmenter reads its text whole, which takes milliseconds for a long one.
const contextLength = 512

/**
 * The text, if it has at most `lengthMax` code points; otherwise its beginning, marked with `…`. It is cut between two
 * graphemes (UAX #29), so that no character is torn.
 */
export const shorten = (text: string, lengthMax: number): string => {
  if (text.length <= lengthMax || endOfPoints(text, lengthMax) === text.length) return text
  const end = endOfPoints(text, lengthMax - 1)
  const from = Math.max(0, end - contextLength)
  graphemes ??= new Intl.Segmenter(undefined, { granularity: 'grapheme' })
  const { index = 0 } = graphemes.segment(text.slice(from, end + contextLength)).containing(end - from) ?? {}
  // A grapheme may have any number of combining marks: a very long one is torn.
  return `${text.slice(0, index === 0 ? end : from + index)}…`
}

// Not every database stores a NUL, and UTF-8 has no surrogates.
const toRecordedText = (text: string, lengthMax: number): string =>
  shorten(text.toWellFormed().replaceAll('\0', '\ufffd'), lengthMax)

/** A failure as it is recorded: texts and details within their limits, and always a code. */
export const toRecordedFailure = ({ code, message, detailsJson }: Failure): Failure => {
  const recorded = {
    code: code.trim() === '' ? unspecifiedCode : toRecordedText(code, textLengths.code),
    message: toRecordedText(message, textLengths.message)
  }
  if (detailsJson === undefined) return recorded
  const fits = Buffer.byteLength(detailsJson) <= detailsBytesMax && jsonTextDepth(detailsJson) <= jsonDepthMax
  return { ...recorded, detailsJson: fits ? detailsJson : truncatedDetailsJson }
}

/** A progress report as it is recorded: texts within their limits. */
export const toRecordedProgress = (update: ProgressUpdate): ProgressUpdate => {
  const { stage, message } = update
  return {
    ...update,
    ...(stage === undefined ? {} : { stage: toRecordedText(stage, textLengths.stage) }),
    ...(message === undefined ? {} : { message: toRecordedText(message, textLengths.progressMessage) })
  }
}
