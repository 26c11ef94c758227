import { makeWebhookSecret } from '../config/callbacks.ts'
import type { Config, KeyedConfig } from '../config/config.ts'
import { makeTokenSecret } from '../config/token-key.ts'
import type { Transact } from '../store/store.ts'
import { keepOwnKey } from '../store/tx/own-keys.ts'

/** The key of tokens that the service made itself, or makes now. */
export const findOwnTokenSecret = (transact: Transact): Promise<string> =>
  transact(tx => keepOwnKey(tx, 'token', makeTokenSecret()))

/** The configuration with the keys that the service makes itself, which all processes on its database share. */
export const withOwnKeys = async (config: Config, transact: Transact): Promise<KeyedConfig> => {
  const { tokenKey, webhookSecrets } = config
  return {
    ...config,
    tokenKey: tokenKey ?? { kind: 'secret', secret: await findOwnTokenSecret(transact) },
    webhookSecrets: webhookSecrets ?? [await transact(tx => keepOwnKey(tx, 'webhook', makeWebhookSecret()))]
  }
}
