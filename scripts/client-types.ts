import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import openapiTS, { astToString, type OpenAPI3 } from 'openapi-typescript'

/*
 * Writes the types of the client, which come from the OpenAPI document; with --check it only says whether they are
 * those of the document.
 */

const path = 'src/client/openapi.ts'
const head = '// Made by `npm run client:types` from the OpenAPI document.\n'

type Operation = { responses?: Record<string, { headers?: unknown }> }
type Document = { paths: Record<string, Record<string, Operation>> }

/** Without headers and failures, which have one schema: the types would be ten times as long, and say nothing more. */
const toLean = (document: Document): Document => {
  for (const operation of Object.values(document.paths).flatMap(methods => Object.values(methods))) {
    for (const [status, response] of Object.entries(operation.responses ?? {})) {
      if (Number(status) >= 400) delete operation.responses?.[status]
      delete response.headers
    }
  }
  return document
}

const { stdout, status } = spawnSync(process.execPath, ['scripts/openapi.ts'], { encoding: 'utf8', maxBuffer: 2 ** 26 })
if (status !== 0) throw new Error('the OpenAPI document could not be made')
const text = head + astToString(await openapiTS(toLean(JSON.parse(stdout) as Document) as unknown as OpenAPI3, { alphabetize: true }))

if (!process.argv.includes('--check')) writeFileSync(path, text)
else if (readFileSync(path, 'utf8') === text) console.log('client: its types are those of the OpenAPI document')
else {
  console.error(`client: ${path} is out of date: run \`npm run client:types\``)
  process.exitCode = 1
}
