import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, chromium, type Locator, type Page, selectors } from 'playwright-core'
import { findOnPath } from '../../../scripts/services.ts'
import { root } from '../../clients/service.ts'
import type { N8n } from './n8n.ts'
import type { Started } from './with-n8n.ts'

/*
 * Makes the pictures of docs/n8n.md in the editor of n8n: each workflow, and the settings of one of its nodes.
 */

const images = join(root, 'docs', 'images')

type Picture = { workflow: string, file: string, node: string }

const pictures: Picture[] = [
  { workflow: 'Job status: submit and wait', file: 'n8n-submit-and-wait', node: 'Submit and wait' },
  { workflow: 'Job status: callback', file: 'n8n-callback', node: 'Wait for the callback' },
  { workflow: 'Job status: polling loop', file: 'n8n-polling-loop', node: 'State?' }
]

const openBrowser = async (): Promise<Browser> => {
  const executablePath = findOnPath('chromium')
  if (executablePath === undefined) throw new Error('chromium is missing')
  selectors.setTestIdAttribute('data-test-id')
  return await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
}

const signIn = async (page: Page, { url, owner: { email, password } }: Pick<N8n, 'url' | 'owner'>): Promise<void> => {
  await page.goto(`${url}/signin`)
  await page.locator('input[type=email], input[name=emailOrLdapLoginId]').fill(email)
  await page.locator('input[type=password]').fill(password)
  await page.keyboard.press('Enter')
  await page.waitForURL(/home|workflow/)
}

// What lies over the workflow in the editor.
const uncovered = `[data-test-id=logs-panel], [data-test-id=execute-workflow-button], [data-test-id=canvas-controls],
  [data-test-id=canvas-minimap], [data-test-id=node-creator-plus-button], [data-test-id=command-bar-button],
  [data-test-id=add-sticky-button], [data-test-id=toggle-focus-panel-button] { visibility: hidden !important; }`

const takePair = async (page: Page, { file, node }: Picture): Promise<void> => {
  const take = async (part: Locator, name: string, cutTop = 0) => {
    // The editor moves its parts to their places.
    await page.waitForTimeout(2000)
    const box = await part.boundingBox()
    if (box === null) throw new Error(`${name}: nothing to be seen`)
    const clip = { ...box, y: box.y + cutTop, height: box.height - cutTop }
    await page.screenshot({ path: join(images, `${name}.png`), clip })
  }
  const nodes = page.getByTestId('canvas-node')
  await nodes.filter({ hasText: 'Anything else' }).last().waitFor()
  await page.addStyleTag({ content: uncovered })
  await page.getByTestId('zoom-to-fit').evaluate(button => { (button as unknown as { click: () => void }).click() })
  await take(page.getByTestId('canvas'), file, 20)
  await nodes.filter({ hasText: node }).first().dblclick()
  await page.setViewportSize({ width: 1500, height: 1650 })
  await take(page.getByTestId('ndv-parameters').or(page.getByTestId('node-parameters')).first(), `${file}-node`)
}

/** Takes the pictures. */
export const takePictures = async ({ n8n: { url, owner }, workflows }: Started): Promise<void> => {
  mkdirSync(images, { recursive: true })
  const browser = await openBrowser()
  try {
    const page = await browser.newPage({ colorScheme: 'light' })
    page.setDefaultTimeout(120_000)
    await signIn(page, { url, owner })
    for (const picture of pictures) {
      await page.setViewportSize({ width: 1500, height: 820 })
      await page.goto(`${url}/workflow/${workflows.get(picture.workflow)}`)
      await takePair(page, picture)
    }
  } finally {
    await browser.close()
  }
}
