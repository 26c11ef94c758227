import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Client, JobServiceError } from '../client/client.ts'

/*
 * Downloads that survive the end of the command: the bytes so far are in FILE.part, and FILE.part.etag says of what.
 */

const exists = (path: string): Promise<number> => stat(path).then(({ size }) => size, () => 0)

const digestOf = async (path: string): Promise<string> => {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('base64')
}

/** Downloads the result of a job into a file, from where an earlier call stopped. Returns the number of bytes. */
export const download = async (client: Client, jobId: string, path: string): Promise<number> => {
  const part = `${path}.part`
  const eTagPath = `${part}.etag`
  const offset = await exists(part)
  const eTag = await readFile(eTagPath, 'utf8').catch(() => undefined)
  const response = await client.result(jobId, offset > 0 && eTag !== undefined ? { offset, eTag } : {})
  const isRest = response.status === 206
  await writeFile(eTagPath, response.headers.get('etag') ?? '')
  const body = response.body === null ? Readable.from([]) : Readable.fromWeb(response.body)
  await pipeline(body, createWriteStream(part, { flags: isRest ? 'a' : 'w' }))
  const expected = /sha-256=:([^:]+):/.exec(response.headers.get('repr-digest') ?? '')?.[1]
  // The client has checked a whole download; of this one it has seen the rest.
  if (isRest && expected !== undefined && await digestOf(part) !== expected) {
    await rm(part)
    throw new JobServiceError('RESULT_DAMAGED', 'the bytes are not those of the digest: the download begins again')
  }
  const size = await exists(part)
  await rename(part, path)
  await rm(eTagPath, { force: true })
  return size
}

/** Writes the result of a job to standard output. */
export const printResult = async (client: Client, jobId: string): Promise<void> => {
  const { body } = await client.result(jobId)
  if (body === null) return
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    if (!process.stdout.write(chunk)) await new Promise(resolve => process.stdout.once('drain', resolve))
  }
}
