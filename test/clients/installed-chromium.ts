import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const executablePath = '/usr/bin/chromium'

const install = (): void => {
  if (existsSync(executablePath)) return
  const command = 'apt-get install -y --no-install-recommends chromium'
  const done = process.getuid?.() === 0 && spawnSync('sh', ['-c', `apt-get update && ${command}`]).status === 0
  if (!done) throw new Error(`Chromium is missing at ${executablePath}: install it, on Debian with ${command}`)
}

/** Starts the Chromium of the system, which is installed if it is missing. */
export const launchChromium = async (): Promise<Browser> => {
  install()
  return await chromium.launch({ executablePath, args: ['--no-sandbox'] })
}
