import fastify from 'fastify'
import t from 'tap'
import { sendPoll } from '../../../src/http/routes/send-status.ts'
import { entryAt } from '../../cache/conformance.ts'

const entry = entryAt(1)
const shown = { view: 'v1', entry, eTag: '"1"', link: '</api/v1/jobs/job-1>; rel="status"' } as const

t.test('what Node does not take as a header is still answered', async t => {
  const app = fastify()
  t.teardown(() => app.close())
  app.get<{ Params: { link: string } }>('/:link', ({ params: { link } }, reply) => {
    try {
      sendPoll(reply, { representation: { ...shown, link: link === 'broken' ? 'a\nb' : shown.link }, condition: undefined })
    } catch (error) {
      reply.send(error)
    }
  })
  t.match(await app.inject('/sound'), { statusCode: 200, body: entry.v1Body, headers: { link: shown.link } })
  t.match(await app.inject('/broken'), { statusCode: 500 })
})
