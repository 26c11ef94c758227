import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Makes a locale known to the servers that this process starts from now on, until the test ends. Returns its name. The
 * sources of all locales come with the Postgres of Debian.
 */
export const installLocale = (t: { teardown: (close: () => unknown) => void }, language: string): string => {
  const folder = mkdtempSync(join(tmpdir(), 'job-status-locale-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  // The server reads it as another user.
  chmodSync(folder, 0o755)
  const name = `${language}.UTF-8`
  execFileSync('localedef', ['--no-archive', '-i', language, '-f', 'UTF-8', join(folder, name)])
  process.env.LOCPATH = folder
  return name
}
