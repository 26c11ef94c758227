import type { KeyedConfig } from '../config/config.ts'
import type { Scope } from '../http/auth/authenticate.ts'
import { createInputCheck } from '../http/bodies/validation.ts'
import type { KnownType } from '../http/routes/submissions/submit-routes.ts'
import { processors } from '../processors/registry.ts'

/** The types that the embedded worker can run, with what a submission of each must satisfy. */
const toKnownTypes = (): ReadonlyMap<string, KnownType> =>
  new Map([...processors].map(([type, { inputSchema, needsScopes }]) =>
    [type, { needsScopes: needsScopes as Scope[], validateInput: createInputCheck(inputSchema) }]))

/** Which submissions the service accepts. */
export const toSubmissionRules = ({ jobTypes, resultRetentionMs, callbackHostsAllowed, webhookSecrets }: KeyedConfig) => ({
  jobTypes,
  knownTypes: toKnownTypes(),
  retentionSecondsMax: resultRetentionMs / 1000,
  callbacks: { allowed: callbackHostsAllowed, areEnabled: webhookSecrets.length > 0 }
})
