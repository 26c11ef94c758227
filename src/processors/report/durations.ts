import hdrHistogram from 'hdr-histogram-js/dist/Int32Histogram.js'

/** Milliseconds. The percentiles are within 0.1 %, the others exact; null where nothing was counted. */
export type DurationFigures = {
  count: number
  min: number | null
  p50: number | null
  p95: number | null
  p99: number | null
  max: number | null
}

// The one histogram that is used: what the package exports takes ten times as long to load, most of it WebAssembly. The
// default export arrives one level deeper under Node's CommonJS interop.
const { default: Int32Histogram } = hdrHistogram

/** Collects the durations of any number of runs; the memory it takes depends only on their range. */
export const collectDurations = () => {
  const histogram = new Int32Histogram(1, 2, 3)
  histogram.autoResize = true
  let count = 0
  let min = Infinity
  let max = 0
  return {
    /** A duration in whole milliseconds, not negative. */
    add (durationMs: number) {
      histogram.recordValue(durationMs)
      count++
      min = Math.min(min, durationMs)
      max = Math.max(max, durationMs)
    },
    toFigures (): DurationFigures {
      if (count === 0) return { count, min: null, p50: null, p95: null, p99: null, max: null }
      // The histogram gives the upper end of a bucket, which can exceed the longest run.
      const at = (percentile: number) => Math.max(min, Math.min(max, histogram.getValueAtPercentile(percentile)))
      return { count, min, p50: at(50), p95: at(95), p99: at(99), max }
    }
  }
}
