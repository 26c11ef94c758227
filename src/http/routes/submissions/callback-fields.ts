import { Type } from '@sinclair/typebox'
import { ServiceFailure } from '../../../errors.ts'
import type { AllowedHost } from '../../../job/callbacks/allowed-hosts.ts'
import { callbacksMax } from '../../../job/callbacks/callback.ts'
import { callbackUrlMax, findRefusal, toCallbackTarget, type CallbackTarget } from '../../../job/callbacks/callback-url.ts'
import { isWebhookSecret, webhookSecretForm } from '../../../job/callbacks/webhook-secret.ts'
import { OptionalOrNull } from '../../../job/schema-kinds.ts'
import type { CallbackRequest } from '../../../write/submit-job.ts'
import { brokenRule } from '../../problem.ts'

/** The members of a submission that ask for a callback. */
export const callbackFields = {
  callbackUrl: OptionalOrNull(Type.String({
    maxLength: callbackUrlMax,
    description: `An https URL that gets a POST when the job has ended, signed after Standard Webhooks. It must lead to a
public address, unless CALLBACK_HOSTS_ALLOWED names the host. A repeated submission with another URL adds it; a job has at
most ${callbacksMax}.`
  })),
  callbackSecret: OptionalOrNull(Type.String({
    description: `The key that signs calls of this URL, in place of the service's: ${webhookSecretForm}. Never shown again.`
  }))
}

type CallbackFields = { callbackUrl?: string | undefined, callbackSecret?: string | null | undefined }

/** `areEnabled`: the service has a key that signs. */
export type CallbackRules = { allowed: readonly AllowedHost[], areEnabled: boolean }

const refused = (reason: string): ServiceFailure => {
  const message = `callbackUrl ${reason}`
  return new ServiceFailure('CALLBACK_REFUSED', message, {
    errors: [{ field: 'callbackUrl', rule: 'refused', message }]
  })
}

const toTarget = (url: string): CallbackTarget => {
  try {
    return toCallbackTarget(url)
  } catch (error) {
    throw brokenRule('callbackUrl', 'url', (error as Error).message)
  }
}

/**
 * The callback that a submission asks for, as a member of it; none without a URL. Throws VALIDATION_FAILED and
 * CALLBACK_REFUSED.
 */
export const toCallback = (
  { callbackUrl: url, callbackSecret: secret = null }: CallbackFields, { allowed, areEnabled }: CallbackRules
): { callback?: CallbackRequest } => {
  if (secret !== null && url === undefined) throw brokenRule('callbackSecret', 'dependentRequired', 'needs a callbackUrl')
  if (url === undefined) return {}
  if (secret !== null && !isWebhookSecret(secret)) {
    throw brokenRule('callbackSecret', 'pattern', `must be ${webhookSecretForm}`)
  }
  const target = toTarget(url)
  if (!areEnabled) throw refused('is not possible here: the service has no WEBHOOK_SECRET')
  const refusal = findRefusal(target, allowed)
  if (refusal !== undefined) throw refused(refusal)
  return { callback: { url, host: `${target.hostName}:${target.port}`, secret } }
}
