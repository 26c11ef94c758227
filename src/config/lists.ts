import { jobTypePattern } from '../job/job.ts'

/*
 * Variables that are lists: values separated by commas. A value that is not valid adds a line to `problems`.
 */

const jobTypeExpression = new RegExp(jobTypePattern)

const split = (text: string): string[] => text.split(',').map(value => value.trim())

/** The types of JOB_TYPES; null: any. */
export const parseJobTypes = (text: string | undefined, problems: string[]): readonly string[] | null => {
  if (text === undefined) return null
  const types = split(text)
  const bad = types.filter(type => !jobTypeExpression.test(type))
  if (bad.length > 0) problems.push('JOB_TYPES: must be a list of names like report,sanitize')
  return Object.freeze(types)
}

/** The origins whose pages may read responses; `*`: all. */
export type Origins = '*' | readonly string[]

// Browsers give pages of desktop and mobile shells and of extensions an origin that URL does not make.
const shellOrigin = /^(?!https?:)[a-z][a-z0-9+.-]*:\/\/[\w.-]+(?::\d+)?$/

// As a browser writes it in Origin: in lower case and without the default port.
const toOrigin = (text: string): string | undefined => {
  if (shellOrigin.test(text)) return text
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) return undefined
  return url.href === `${url.origin}/` ? url.origin : undefined
}

/** The origins of CORS_ORIGINS; null: none. */
export const parseOrigins = (text: string | undefined, problems: string[]): Origins | null => {
  if (text === undefined) return null
  if (text.trim() === '*') return '*'
  const origins = split(text).map(toOrigin)
  if (origins.includes(undefined)) {
    problems.push('CORS_ORIGINS: must be * or a list of origins like https://app.example.org,http://localhost:8080')
  }
  return Object.freeze(origins.filter(origin => origin !== undefined))
}
