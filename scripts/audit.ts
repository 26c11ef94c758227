// Fails if `npm audit` finds a vulnerability in a package that the service runs with; a silent registry is no failure.
import { spawnSync } from 'node:child_process'

const { status, stdout, stderr } = spawnSync('npm', ['audit', '--omit=dev', '--audit-level=moderate'], {
  encoding: 'utf8', timeout: 60_000
})
// npm exits with 1 in both cases, but writes its report only if the registry answered.
const isReport = /vulnerabilit(y|ies)/.test(stdout)
console.log(isReport ? stdout.trim() : `audit: skipped, the registry did not answer: ${stderr.trim()}`)
process.exitCode = isReport ? status ?? 1 : 0
