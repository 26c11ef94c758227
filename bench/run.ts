import { spawnSync } from 'node:child_process'

/*
 * Runs the scenarios that are named, one after the other, or all: `npm run bench -- polls claims`. Each is a program of
 * its own, starts the real service in a process of its own, and prints a small table.
 */

const scenarios = ['polls', 'claims', 'uploads', 'results', 'inputs', 'pruning']

const asked = process.argv.slice(2)
const unknown = asked.filter(name => !scenarios.includes(name))
if (unknown.length > 0) {
  console.error(`no such scenario: ${unknown.join(', ')}; there are ${scenarios.join(', ')}`)
  process.exit(2)
}

for (const name of asked.length > 0 ? asked : scenarios) {
  console.log(`\n# ${name}\n`)
  const { status } = spawnSync(process.execPath, [`bench/${name}.ts`], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
