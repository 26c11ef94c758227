import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type SuiteResult } from '../result.ts'
import { toHtml } from './html.ts'
import { toJunit } from './junit.ts'
import { toMarkdown } from './markdown.ts'

const reports: Record<string, (result: SuiteResult) => string | Promise<string>> = {
  // First: the others can be made from it again.
  json: result => JSON.stringify(result, undefined, 2) + '\n',
  md: toMarkdown,
  'junit.xml': toJunit,
  html: toHtml
}

/** Writes every report of a run into the directory, which is made, named by when the run began; returns their paths. */
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
