import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, startService } from '../../clients/service.ts'
import { secret, token, webhookSecret } from '../../helpers/tokens.ts'
import { installN8n } from './install.ts'
import { type N8n, startN8n } from './n8n.ts'
import { n8nClaims } from './stories.ts'

// The address that the workflows name.
const port = '3000'

const assertFree = async (): Promise<void> => {
  const server = createServer().listen(Number(port), '127.0.0.1')
  await once(server, 'listening').catch(() => {
    throw new Error(`something else listens on port ${port}, which the workflows name`)
  })
  server.close()
  await once(server, 'close')
}

export type Started = {
  n8n: N8n
  serviceUrl: string
  /** The ids of the imported workflows, by name. */
  workflows: Map<string, string>
}

/** Runs `use` with an n8n that has the credential and the imported workflows, and with the service that they name. */
export const withN8n = async (
  settings: Record<string, string>, use: (started: Started) => Promise<void>
): Promise<void> => {
  installN8n()
  await assertFree()
  const folder = mkdtempSync(join(tmpdir(), 'n8n-'))
  const n8n = await startN8n(folder)
  try {
    const service = await startService({
      PORT: port,
      JWT_SECRET: secret,
      WEBHOOK_SECRET: webhookSecret,
      CALLBACK_HOSTS_ALLOWED: `localhost:${n8n.port}`,
      ...settings
    })
    try {
      await n8n.addCredential('Job status service', 'httpBearerAuth', { token: token(n8nClaims) })
      const workflows = await n8n.importWorkflows(join(root, 'examples', 'n8n'))
      await use({ n8n, serviceUrl: service.baseUrl, workflows })
    } finally {
      await service.stop()
    }
  } finally {
    await n8n.stop()
    rmSync(folder, { recursive: true })
  }
}
