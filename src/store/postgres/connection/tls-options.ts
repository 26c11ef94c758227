import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { ServerUnusable } from '../failures.ts'

type Parameters = { take: (name: string) => string | undefined }

const readFile = (name: string, path: string | undefined): Buffer | undefined => {
  if (path === undefined) return undefined
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ServerUnusable(`${name} ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

const versions = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const

const toVersion = (name: string, text: string | undefined) => {
  const version = versions.find(version => version === text)
  if (text !== undefined && version === undefined) throw new ServerUnusable(`${name} must be one of ${versions.join(', ')}`)
  return version
}

// libpq's word for the authorities that the system trusts, in place of a file.
const ofSystem = 'system'

/*
 * Anyone can have a certificate of a public authority, so those that Node trusts prove something only together with the
 * name of the host. As in libpq, `system` means verify-full where the URL has no mode.
 */
const toMode = (mode: string | undefined, rootCert: string | undefined): string => {
  if (rootCert === ofSystem && mode !== undefined && mode !== 'verify-full') {
    throw new ServerUnusable('sslrootcert=system needs sslmode=verify-full: anyone can have a certificate of those')
  }
  if (mode === 'verify-ca' && rootCert === undefined) {
    throw new ServerUnusable('sslmode=verify-ca needs sslrootcert: without the name, any public certificate would do')
  }
  return mode ?? (rootCert === ofSystem ? 'verify-full' : 'disable')
}

const takeFiles = (parameters: Parameters, rootCert: string | undefined): ConnectionOptions => {
  const [passphrase, minVersion, maxVersion] = [
    parameters.take('sslpassword'),
    toVersion('ssl_min_protocol_version', parameters.take('ssl_min_protocol_version')),
    toVersion('ssl_max_protocol_version', parameters.take('ssl_max_protocol_version'))
  ]
  const [ca, cert, key, crl] = [
    readFile('sslrootcert', rootCert === ofSystem ? undefined : rootCert),
    ...['sslcert', 'sslkey', 'sslcrl'].map(name => readFile(name, parameters.take(name)))
  ]
  return Object.fromEntries(
    Object.entries({ ca, cert, key, crl, passphrase, minVersion, maxVersion }).filter(([, value]) => value !== undefined))
}

/** How connections are encrypted; false: not at all, as where the URL does not say. Throws ServerUnusable. */
export const toTlsOptions = (parameters: Parameters): false | ConnectionOptions => {
  const rootCert = parameters.take('sslrootcert')
  const mode = toMode(parameters.take('sslmode'), rootCert)
  const files = takeFiles(parameters, rootCert)
  switch (mode) {
    case 'disable':
      if (Object.keys(files).length === 0) return false
      throw new ServerUnusable('the URL has certificates, and no sslmode that uses them')
    // As in libpq, a root certificate makes the server prove who it is; without one, any server is trusted.
    case 'require': case 'verify-ca':
      return mode === 'require' && files.ca === undefined
        ? { ...files, rejectUnauthorized: false }
        : { ...files, rejectUnauthorized: true, checkServerIdentity: () => undefined }
    case 'verify-full': return { ...files, rejectUnauthorized: true }
    case 'allow': case 'prefer':
      throw new ServerUnusable(`sslmode=${mode} is not supported: it would fall back to a connection without encryption`)
    default: throw new ServerUnusable('sslmode must be one of disable, require, verify-ca, verify-full')
  }
}
