import t from 'tap'
import { until } from '../helpers/until.ts'
import { always, openCommands } from './commands.ts'

t.test('a worker learns of a cancellation only after it was exposed to every reader', async t => {
  const { submit, claim, runJob, cancelJob, exposed, holdExpose } = await openCommands(t)
  const jobId = await submit()
  const lease = await claim()
  const before = exposed.length
  await runJob.heartbeat(lease)
  t.equal(exposed.length, before, 'a heartbeat alone reveals nothing')

  const letGo = holdExpose()
  const cancelling = cancelJob(jobId, always)
  await until(() => exposed.length === before + 1, 'the cancellation to be committed')
  let isTold = false
  const heartbeat = runJob.heartbeat(lease).then(state => {
    isTold = true
    return state
  })
  await until(() => exposed.length === before + 2, 'the heartbeat to expose it too')
  t.match(exposed.at(-1), { lookup: { job: { jobId, state: 'running', cancelRequestedAt: Number } } })
  t.equal(isTold, false)
  letGo()
  t.match(await heartbeat, { cancelRequested: true })
  await cancelling
})
