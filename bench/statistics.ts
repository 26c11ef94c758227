import { build, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'

const longestMicros = 600_000_000

/** Creates an empty histogram for 1 µs to 10 minutes, with three significant digits. */
export const createHistogram = (): Histogram =>
  build({
    bitBucketSize: 32,
    lowestDiscernibleValue: 1,
    highestTrackableValue: longestMicros,
    numberOfSignificantValueDigits: 3
  })

/** Records a time in ms. A time outside the range is recorded as the nearest limit. */
export const recordMs = (histogram: Histogram, ms: number): void => {
  histogram.recordValue(Math.min(longestMicros, Math.max(1, Math.round(ms * 1000))))
}

/** Adds the histograms and encodes the sum: V2, base64. */
export const encodeTogether = (histograms: readonly Histogram[]): string => {
  const all = createHistogram()
  for (const histogram of histograms) all.add(histogram)
  return encodeIntoCompressedBase64(all)
}

/** The median; for an even count the mean of the middle two, for an empty list NaN. */
export const median = (numbers: readonly number[]): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}
