import { statSync, truncateSync } from 'node:fs'
import t from 'tap'
import { killInRounds } from './rounds.ts'

const { DURABILITY_ROUNDS: roundsText = '6', DURABILITY_SEED: seedText = '1' } = process.env
const [rounds, seed] = [Number(roundsText), Number(seedText)]
t.setTimeout(400_000 + 10_000 * rounds)

t.test('a service killed under write load loses nothing that it acknowledged', async t => {
  const report = await killInRounds(t, { rounds, seed })
  t.comment(`seed ${seed}: ${JSON.stringify(report)}`)
  t.same(report.violations, [])
  t.equal(report.lost, 0)
  t.equal(report.rounds, rounds)
  t.ok(report.acknowledged >= 20 * rounds)
  t.ok(report.cutOff > 0, 'some commands were under way at a kill')
})

// Rounds that find nothing in these services prove nothing about a sound one.
for (const fault of ['acknowledges-early', 'commits-by-halves']) {
  t.test(`a service that ${fault} is found out`, async t => {
    const report = await killInRounds(t, { rounds: 40, seed, fault, writesMax: 60 })
    t.comment(`seed ${seed}: ${JSON.stringify(report)}`)
    t.ok(report.violations.length > 0, `in round ${report.rounds}`)
  })
}

t.test('commits that vanish from the log are missed', async t => {
  const tamper = (databasePath: string) => {
    truncateSync(`${databasePath}-wal`, Math.floor(statSync(`${databasePath}-wal`).size / 2))
  }
  const report = await killInRounds(t, { rounds: 10, seed, tamper })
  t.ok(report.lost > 0, `${report.lost} in round ${report.rounds}`)
})
