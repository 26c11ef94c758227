import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Closing } from '../../../helpers/postgres.ts'

const openssl = (...args: string[]) => { execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'ignore'] }) }

const request = (name: string, ...args: string[]) => {
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`,
    '-days', '2', ...args)
}

/** A folder that a server may read, although it runs as another user. It is removed when the test ends. */
export const makeOpenFolder = (t: Closing): string => {
  const folder = mkdtempSync(join(tmpdir(), 'job-status-tls-'))
  chmodSync(folder, 0o755)
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  return folder
}

/** Makes an authority, and a certificate of it for the name `localhost`, whose key a server of the tests may read. */
export const makeCertificates = (folder: string) => {
  const path = (name: string) => join(folder, name)
  const ofRoot = ['-CA', path('root.crt'), '-CAkey', path('root.key')]
  request('tests', '-keyout', path('root.key'), '-out', path('root.crt'))
  request('localhost', '-addext', 'subjectAltName=DNS:localhost', ...ofRoot, '-keyout', path('server.key'), '-out', path('server.crt'))
  // A server takes no key that others may read.
  if (process.getuid?.() === 0) execFileSync('chown', ['postgres', path('server.key')])
  return {
    root: path('root.crt'),
    cert: path('server.crt'),
    key: path('server.key'),
    /** Makes a certificate for a role, and its key, under a password. */
    makeClient: (role: string, password: string) => {
      request(role, ...ofRoot, '-keyout', path('plain.key'), '-out', path(`${role}.crt`))
      openssl('pkey', '-in', path('plain.key'), '-aes256', '-passout', `pass:${password}`, '-out', path(`${role}.key`))
      return { cert: path(`${role}.crt`), key: path(`${role}.key`) }
    }
  }
}
