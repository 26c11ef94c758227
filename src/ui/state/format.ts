/*
 * Numbers and times as texts.
 */

const absent = '–'

/** A span of time in the two largest units that matter: `4 min 10 s`. */
export const toSpan = (ms: number | null): string => {
  if (ms === null || !Number.isFinite(ms)) return absent
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`
  return `${Math.floor(whole / 86_400)} d ${Math.floor(whole % 86_400 / 3600)} h`
}

/** The time since something, in one unit: `3 min`. */
export const toAge = (ms: number): string => {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

const two = (number: number): string => String(number).padStart(2, '0')

/** A time in the zone of the browser: `2026-03-01 09:00:02`. */
export const toTime = (iso: string | null): string => {
  const time = new Date(iso ?? Number.NaN)
  if (Number.isNaN(time.getTime())) return absent
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')}`
}

const units = ['B', 'kB', 'MB', 'GB', 'TB']

/** A number of bytes: `1.5 MB`. */
export const toSize = (bytes: number): string => {
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

const control = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** A text of others for one line: characters that are invisible or turn the direction of text become visible. */
export const toVisible = (text: string): string => text.replace(control, '\u{fffd}')
