import { createSigner } from 'fast-jwt'
import { Command } from 'commander'
import { findOwnTokenSecret } from '../src/app/own-keys.ts'
import { loadConfig } from '../src/config/config.ts'
import { OperatorError } from '../src/errors.ts'
import { withStore } from './with-store.ts'

/*
 * Prints a token for the local service, signed with JWT_SECRET or with the key that the service generated.
 */

const command = new Command('token')
  .description('Print a token that the local service accepts.')
  .option('--sub <subject>', 'subject of the token')
  .option('--scope <scopes>', 'space-separated scopes; default: jobs:read jobs:write')
  .option('--tenant <tenant>', 'tenant of the jobs; default: the subject')
  .option('--expires <seconds>', 'lifetime of the token', '3600')
  .parse()

type Options = { sub?: string, scope?: string, tenant?: string, expires: string }

const { sub, scope, tenant, expires } = command.opts<Options>()
const { env } = process
const seconds = Number(expires)

if (sub === undefined) {
  command.error('--sub: is missing; for instance: npm run --silent token -- --sub me --scope "jobs:read jobs:write"')
}
if (!Number.isInteger(seconds) || seconds < 1) command.error('--expires: must be a whole number of seconds')
// An empty variable counts as unset, as in the service.
if (env.JWT_PUBLIC_KEY || env.JWKS_URL) {
  command.error('the service verifies tokens with a public key, so only the issuer can sign them with the private key')
}

const findKey = async (): Promise<string> => {
  if (env.JWT_SECRET) return env.JWT_SECRET
  const { databaseUrl, tokenKey } = loadConfig()
  if (tokenKey?.kind === 'secret') return tokenKey.secret
  return await withStore(databaseUrl, ({ transact }) => findOwnTokenSecret(transact))
}

const sign = createSigner({
  key: await findKey().catch((error: unknown) =>
    command.error(error instanceof OperatorError ? error.message : String(error))),
  algorithm: 'HS256',
  expiresIn: seconds * 1000,
  ...(env.JWT_ISSUER ? { iss: env.JWT_ISSUER } : {}),
  ...(env.JWT_AUDIENCE ? { aud: env.JWT_AUDIENCE } : {})
})
const claims = { sub, ...(scope === undefined ? {} : { scope }), ...(tenant === undefined ? {} : { tenant }) }
// A reader like `head` may have enough before the end.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})
process.stdout.write(`${sign(claims)}\n`)
