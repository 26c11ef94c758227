import { existsSync, readFileSync } from 'node:fs'
import { localWebhookSecretPath } from './callbacks.ts'
import { localSecretPath } from './token-key.ts'

/** The keys that a local service has made for itself so far, with the names that they have in a database. */
export const findLocalKeys = (): Array<{ name: string, key: string }> => {
  const paths = [['token', localSecretPath], ['webhook', localWebhookSecretPath]] as const
  return paths.filter(([, path]) => existsSync(path)).map(([name, path]) => ({ name, key: readFileSync(path, 'utf8').trim() }))
}
