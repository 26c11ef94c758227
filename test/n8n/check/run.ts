import type { Execution, N8n } from './n8n.ts'
import { createStories, result, type Story } from './stories.ts'
import { type Started, withN8n } from './with-n8n.ts'

/*
 * Runs the workflows of examples/n8n, as they are, in n8n against a service. It takes minutes and 3 GB, so CI does
 * without: there, test/n8n/workflows.test.ts emulates n8n.
 */

const faultOf = async (n8n: N8n, { last, passes }: Story, execution: Execution): Promise<string | undefined> => {
  const { status, path, item, error } = execution
  const said = `${status}: ${path.join(' > ')} ${JSON.stringify(item?.json)} ${error?.message ?? ''}`
  if (status !== 'success' || execution.last !== last) return said
  if (passes?.test(path.join(' > ')) === false) return said
  if (last !== 'Succeeded') return undefined
  const { id, mimeType } = item.binary?.data ?? {}
  const file = id === undefined ? undefined : await n8n.file(id)
  return file === result && mimeType === 'text/csv' ? undefined : `the file is ${mimeType} ${JSON.stringify(file)}; ${said}`
}

const check = async ({ n8n, serviceUrl, workflows }: Started): Promise<number> => {
  console.log(`imported: ${[...workflows.keys()].join(', ')}`)
  let failed = workflows.size === 3 ? 0 : 1
  let passed = 0
  for (const [name, id] of workflows) {
    let running = ''
    for (const story of createStories(serviceUrl, () => n8n.status(running))) {
      if (story.only !== undefined && story.only !== name) continue
      await story.prepare?.()
      const start = performance.now()
      running = await n8n.run(id)
      await story.act()
      const execution = await n8n.ended(running, 120_000)
      const fault = await faultOf(n8n, story, execution)
      const seconds = ((performance.now() - start) / 1000).toFixed(1)
      console.log(`${fault === undefined ? 'ok  ' : 'FAIL'}  ${name}: ${story.name} (${seconds} s)`)
      console.log(`      ${fault ?? execution.path.join(' > ')}`)
      if (fault === undefined) passed++
      else failed++
    }
  }
  console.log(`${passed} passed, ${failed} failed`)
  return failed
}

await withN8n({ WORKERS: '0', RATE_LIMIT_PER_MINUTE: '60' }, async started => {
  if (process.argv[2] === 'pictures') await (await import('./pictures.ts')).takePictures(started)
  else if (await check(started) > 0) process.exitCode = 1
})
