// Fails where the registry knows a vulnerability of a package that the service runs with. A registry that does not tell is no failure.
import { spawnSync } from 'node:child_process'

type Found = { name: string, severity: string, range: string }
type Audit = { vulnerabilities?: Record<string, Found>, message?: string }

const failing = ['moderate', 'high', 'critical']

const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { encoding: 'utf8', timeout: 60_000, maxBuffer: 64 * 1024 * 1024 })
const { vulnerabilities, message = 'no answer' } = (() => {
  try {
    return JSON.parse(stdout) as Audit
  } catch {
    return {}
  }
})()

if (vulnerabilities === undefined) {
  console.log(`audit: not done, the registry does not tell: ${message}`)
} else {
  const found = Object.values(vulnerabilities).filter(({ severity }) => failing.includes(severity))
  for (const { name, severity, range } of found) console.error(`audit: ${name} ${range}: ${severity}; npm audit tells more`)
  if (found.length > 0) process.exitCode = 1
  else console.log('audit: no known vulnerability of moderate severity or worse')
}
