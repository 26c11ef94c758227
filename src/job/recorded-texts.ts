import type { Failure } from './job.ts'
import { jsonDepthMax } from './json-flaw.ts'
import { jsonTextDepth } from './json-text.ts'
import type { ProgressUpdate } from './progress.ts'

/*
 * What is kept of the texts that a worker sends, and how much is shown of those that other programs wrote. A report must not fail because of its wording: then the end of a job
 * would be lost and the job would run again. So a text that is too long is shortened, not rejected.
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

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/**
 * The text, if it has at most `lengthMax` code points; otherwise its beginning, marked with `…`. It is cut between two
 * graphemes (UAX #29), so that no character is torn.
 */
export const shorten = (text: string, lengthMax: number): string => {
  if (text.length <= lengthMax) return text
  // Holds more code points than the limit unless it is the whole text; a longer text is not read to its end.
  const head = text.slice(0, 2 * lengthMax + 1)
  const points = [...head]
  if (points.length <= lengthMax) return text
  const end = points.slice(0, lengthMax - 1).join('').length
  // A grapheme may have any number of combining marks: one that fills the whole text is torn.
  const begin = graphemes.segment(head).containing(end)?.index ?? 0
  return `${head.slice(0, begin === 0 ? end : begin)}…`
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
