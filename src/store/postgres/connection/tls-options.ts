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

// Without a root certificate, those that Node trusts count; so does the word of libpq for them.
const takeAuthorities = (parameters: Parameters): Buffer | undefined => {
  const path = parameters.take('sslrootcert')
  return readFile('sslrootcert', path === 'system' ? undefined : path)
}

const takeFiles = (parameters: Parameters): ConnectionOptions => {
  const [passphrase, minVersion, maxVersion] = [
    parameters.take('sslpassword'),
    toVersion('ssl_min_protocol_version', parameters.take('ssl_min_protocol_version')),
    toVersion('ssl_max_protocol_version', parameters.take('ssl_max_protocol_version'))
  ]
  const [ca, cert, key, crl] = [
    takeAuthorities(parameters), ...['sslcert', 'sslkey', 'sslcrl'].map(name => readFile(name, parameters.take(name)))
  ]
  return Object.fromEntries(
    Object.entries({ ca, cert, key, crl, passphrase, minVersion, maxVersion }).filter(([, value]) => value !== undefined))
}

/** How connections are encrypted; false: not at all, as where the URL does not say. Throws ServerUnusable. */
export const toTlsOptions = (parameters: Parameters): false | ConnectionOptions => {
  const mode = parameters.take('sslmode') ?? 'disable'
  const files = takeFiles(parameters)
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
