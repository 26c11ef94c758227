import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { SuiteResult } from '../result.ts'
import { toHtml } from './html.ts'
import { toJunit } from './junit.ts'
import { toMarkdown } from './markdown.ts'

const reports: Record<string, (result: SuiteResult) => string | Promise<string>> = {
  // The JSON is first: all other reports can be made from it again.
  json: result => JSON.stringify(result, undefined, 2) + '\n',
  md: toMarkdown,
  'junit.xml': toJunit,
  html: toHtml
}

/**
 * Writes all reports of a run to a folder, named by the start of the run, and returns their paths. Creates the folder
 * if needed.
 */
export const writeReports = async (result: SuiteResult, directory: string): Promise<string[]> => {
  await mkdir(directory, { recursive: true })
  const stamp = new Date(result.startedAt).toISOString().replaceAll(':', '-')
  const paths: string[] = []
  for (const [extension, make] of Object.entries(reports)) {
    const path = join(directory, `${stamp}.${extension}`)
    await writeFile(path, await make(result))
    paths.push(path)
  }
  return paths
}
