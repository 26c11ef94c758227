import type { FastifyInstance } from 'fastify'
import { brokenRule } from '../problem.ts'

const isEmptyObject = (text: string): boolean => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0
  } catch {
    return false
  }
}

/**
 * Some clients always send a body or a Content-Type, so an empty body is accepted. A body with members is an error. Call
 * it in an encapsulated plugin: it replaces the parsers of all routes registered there.
 */
export const takeEmptyBodiesOnly = (app: FastifyInstance): void => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body: string, done) => {
    if (body === '' || isEmptyObject(body)) return done(null)
    done(brokenRule('body', 'maxProperties', 'must be empty, or {}'))
  })
}
