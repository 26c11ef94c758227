import { build, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'

const longestMicros = 600_000_000

/** An empty histogram of microseconds, up to ten minutes, three digits exact. */
export const createHistogram = (): Histogram =>
  build({ bitBucketSize: 32, lowestDiscernibleValue: 1, highestTrackableValue: longestMicros, numberOfSignificantValueDigits: 3 })

/** Records a time given in ms; what is outside the range counts as its end. */
export const recordMs = (histogram: Histogram, ms: number): void => {
  histogram.recordValue(Math.min(longestMicros, Math.max(1, Math.round(ms * 1000))))
}

/** All of them in one, V2, base64. */
export const encodeTogether = (histograms: readonly Histogram[]): string => {
  const all = createHistogram()
  for (const histogram of histograms) all.add(histogram)
  return encodeIntoCompressedBase64(all)
}

/** The middle one; the mean of the middle two where there are as many below as above. NaN of none. */
export const median = (numbers: readonly number[]): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}
