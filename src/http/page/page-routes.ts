import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify'
import { noSuchRoute } from '../problem.ts'
import { loadPageFiles, type PageFiles } from './page-files.ts'
import { toPageHtml } from './page-html.ts'

/** `tokenCommand`: what prints a token for a local service; null: the page does not name one. */
export type PageRouteNeeds = { tokenCommand: string | null }

// Images of results are shown as blobs. With `trusted-types 'none'` a browser that knows them lets no script of the page
// make HTML from text at all.
const policy = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' blob:",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
  "trusted-types 'none'"
].join('; ')

const headers = {
  'content-security-policy': policy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  vary: 'Accept-Encoding'
}

const yearSeconds = 31_536_000

type FileRequest = FastifyRequest<{ Params: { version: string, '*': string } }>

/** The files are read for the first request, and kept. */
const createFindFiles = (): (() => Promise<PageFiles>) => {
  let files: Promise<PageFiles> | undefined
  return () => {
    files ??= loadPageFiles().catch((error: unknown) => {
      files = undefined
      throw error
    })
    return files
  }
}

const acceptsGzip = ({ headers }: FastifyRequest): boolean => /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(String(headers['accept-encoding']))

/**
 * The page for people: `/ui`, to which `/` leads, and its files. It works over the API alone, with a token that is
 * entered in it, so it needs none itself.
 */
export const pageRoutes: FastifyPluginCallback<PageRouteNeeds> = (app, { tokenCommand }, done) => {
  const findFiles = createFindFiles()
  const options = { config: { public: true }, schema: { hide: true } } as const
  const redirectTo = (path: string) => (_request: FastifyRequest, reply: FastifyReply) => reply.redirect(path)

  app.get('/', options, redirectTo('ui'))
  app.get('/ui/', options, redirectTo('../ui'))

  app.get('/ui', options, async (_request, reply) => {
    const files = await findFiles()
    reply.headers({ ...headers, 'cache-control': 'no-store' }).type('text/html; charset=utf-8')
    return reply.send(toPageHtml({ ...files, tokenCommand }))
  })

  app.get('/ui/:version/*', options, async (request: FileRequest, reply) => {
    const { version, files } = await findFiles()
    const file = files.get(request.params['*'])
    if (file === undefined) throw noSuchRoute()
    // A page of another release, which is served beside this one for a while, must not keep these files as its own.
    const isCurrent = request.params.version === version
    reply.headers({ ...headers, 'cache-control': isCurrent ? `public, max-age=${yearSeconds}, immutable` : 'no-store' })
    reply.type(file.contentType)
    return acceptsGzip(request) ? reply.header('content-encoding', 'gzip').send(file.gzipped) : reply.send(file.body)
  })
  done()
}
