import { randomBytes } from 'node:crypto'
import { type AllowedHost, parseAllowedHost } from '../job/callbacks/allowed-hosts.ts'
import { isWebhookSecret, toWebhookSecret, webhookSecretForm } from '../job/callbacks/webhook-secret.ts'
import { OperatorError, reasonOf } from '../errors.ts'
import { readOrCreateFile } from './local-file.ts'
import type { Problems } from './problems.ts'

/** The file with the signing key of a local service, outside production. */
export const localWebhookSecretPath = 'data/webhook-secret'

/** The hosts and ranges of CALLBACK_HOSTS_ALLOWED. */
export const parseAllowedHosts = (text: string | undefined, problems: Problems): readonly AllowedHost[] => {
  if (text === undefined) return Object.freeze([])
  const hosts = text.split(',').map(host => parseAllowedHost(host.trim()))
  if (hosts.includes(undefined)) {
    problems.push('CALLBACK_HOSTS_ALLOWED: must be a list of hosts, host:port and CIDR like n8n.internal:5678,10.1.0.0/16')
  }
  return Object.freeze(hosts.filter(host => host !== undefined))
}

/** The signing keys of WEBHOOK_SECRET; null: unset. */
export const parseWebhookSecrets = (text: string | undefined, problems: Problems): readonly string[] | null => {
  if (text === undefined) return null
  const secrets = text.split(/\s+/).filter(part => part !== '')
  if (secrets.length === 0 || !secrets.every(isWebhookSecret)) {
    problems.push(`WEBHOOK_SECRET: must be ${webhookSecretForm}, or several of them separated by blanks`)
  }
  return Object.freeze(secrets)
}

/** A new key that signs callbacks. */
export const makeWebhookSecret = (): string => toWebhookSecret(randomBytes(32).toString('base64'))

const readOrCreate = (path: string): string => {
  try {
    return readOrCreateFile(path, makeWebhookSecret)
  } catch (error) {
    throw new OperatorError(`WEBHOOK_SECRET: is unset, and ${path} cannot be made: ${reasonOf(error)}`)
  }
}

/** Returns the signing key of a local service. It is created once, readable by its owner alone. */
export const readOrCreateWebhookSecret = (path = localWebhookSecretPath): string => {
  const secret = readOrCreate(path)
  if (isWebhookSecret(secret)) return secret
  throw new OperatorError(`WEBHOOK_SECRET: is unset, and ${path} holds no ${webhookSecretForm}: remove that file`)
}
