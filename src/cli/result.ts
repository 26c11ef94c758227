import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Client, JobServiceError } from '../client/client.ts'

/*
 * Downloads that survive the end of the command: the bytes so far are in FILE.part, and FILE.part.etag says of what.
 */

const sizeOf = (path: string): Promise<number> => stat(path).then(({ size }) => size, () => 0)

const digestOf = async (path: string): Promise<string> => {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('base64')
}

/** The response from where an earlier call stopped; the whole result where there is no such place. */
const openRest = async (client: Client, jobId: string, part: string): Promise<Response> => {
  const offset = await sizeOf(part)
  const eTag = await readFile(`${part}.etag`, 'utf8').catch(() => '')
  if (offset === 0 || eTag === '') return await client.result(jobId)
  try {
    return await client.result(jobId, { offset, eTag })
  } catch (error) {
    // The call stopped after the last byte, before the file got its name.
    if (!(error instanceof JobServiceError) || error.code !== 'RANGE_NOT_SATISFIABLE') throw error
    return await client.result(jobId)
  }
}

/** Downloads the result of a job into a file, from where an earlier call stopped. Returns the number of bytes. */
export const download = async (client: Client, jobId: string, path: string): Promise<number> => {
  const part = `${path}.part`
  const response = await openRest(client, jobId, part)
  const isRest = response.status === 206
  // Bytes of another result must not stand beside the tag of this one.
  if (!isRest) await rm(part, { force: true })
  await writeFile(`${part}.etag`, response.headers.get('etag') ?? '')
  const body = response.body === null ? Readable.from([]) : Readable.fromWeb(response.body)
  await pipeline(body, createWriteStream(part, { flags: isRest ? 'a' : 'w' }))
  const expected = /sha-256=:([^:]+):/.exec(response.headers.get('repr-digest') ?? '')?.[1]
  // The client has checked a whole download; of this one it has seen the rest.
  if (isRest && expected !== undefined && await digestOf(part) !== expected) {
    await rm(part)
    throw new JobServiceError('RESULT_DAMAGED', 'the bytes are not those of the digest: the next call begins again')
  }
  const size = await sizeOf(part)
  await rename(part, path)
  await rm(`${part}.etag`, { force: true })
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
