import t from 'tap'
import { turnsDuring } from '../helpers/turns.ts'
import { leaseMs, openCommands } from './commands.ts'

t.test('the event loop turns while many expired leases are rescued', async t => {
  const { submit, claim, rescueJobs, clock } = await openCommands(t)
  for (let i = 0; i < 60; i++) await submit()
  for (let i = 0; i < 60; i++) await claim()
  clock.ms += leaseMs
  let rescued = 0
  const turns = await turnsDuring(async () => { rescued = await rescueJobs() })
  t.equal(rescued, 60)
  t.ok(turns >= 6, `${turns} turns`)
})
