import { createSigner } from 'fast-jwt'
import { Command } from 'commander'
import { localSecretPath, readOrCreateSecret } from '../src/config.ts'

/*
 * Prints a token for the local service. It signs with JWT_SECRET, or with the key that the service made for itself.
 */

const command = new Command('token')
  .description('Print a token that the local service accepts.')
  .requiredOption('--sub <subject>', 'who asks')
  .option('--scope <scopes>', 'space separated; without it: jobs:read jobs:write')
  .option('--tenant <tenant>', 'whose jobs; default: the subject')
  .option('--expires <seconds>', 'lifetime', '3600')
  .parse()

const { sub, scope, tenant, expires } = command.opts<{ sub: string, scope?: string, tenant?: string, expires: string }>()
const { env } = process
const seconds = Number(expires)

if (!Number.isInteger(seconds) || seconds < 1) command.error('--expires: must be a whole number of seconds')
// An empty variable is an unset one, for the service too.
if (env.JWT_PUBLIC_KEY || env.JWKS_URL) command.error('the service verifies with a public key: sign with the private one, wherever it is kept')

const sign = createSigner({
  key: env.JWT_SECRET || readOrCreateSecret(localSecretPath),
  algorithm: 'HS256',
  expiresIn: seconds * 1000,
  ...(env.JWT_ISSUER ? { iss: env.JWT_ISSUER } : {}),
  ...(env.JWT_AUDIENCE ? { aud: env.JWT_AUDIENCE } : {})
})
process.stdout.write(`${sign({ sub, ...(scope === undefined ? {} : { scope }), ...(tenant === undefined ? {} : { tenant }) })}\n`)
