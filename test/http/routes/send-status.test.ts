import fastify from 'fastify'
import t from 'tap'
import { sendPoll } from '../../../src/http/routes/send-status.ts'
import { entryAt } from '../../cache/conformance.ts'

const entry = entryAt(1)
const representation = { view: 'v1', entry, eTag: '"1"', link: '</api/v1/jobs/job-1>; rel="status"' } as const

t.test('a header that Node does not take is a failure with a response', async t => {
  const app = fastify()
  t.teardown(() => app.close())
  app.get<{ Params: { link: string } }>('/:link', ({ params: { link } }, reply) => {
    try {
      sendPoll(reply, {
        representation: {
          ...representation, link: link === 'broken' ? 'a\nb' : representation.link
        },
        condition: undefined
      })
    } catch (error) {
      reply.send(error)
    }
  })
  t.match(await app.inject('/sound'), { statusCode: 200, body: entry.v1Body, headers: { link: representation.link } })
  t.match(await app.inject('/broken'), { statusCode: 500 })
})
