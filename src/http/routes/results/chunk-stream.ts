import { Readable } from 'node:stream'

/**
 * The chunks as a stream, once the first is there: what fails before it is a failure like any other, and can still be
 * answered as one. The next chunk is read when the last has left for the socket, so that a slow client costs one.
 */
export const openChunkStream = async (chunks: AsyncGenerator<Uint8Array, void, void>): Promise<Readable> => {
  let first: IteratorResult<Uint8Array, void> | undefined = await chunks.next()
  const next = async () => {
    const result = first ?? await chunks.next()
    first = undefined
    return result
  }
  return new Readable({
    highWaterMark: 0,
    read () {
      next().then(result => { this.push(result.done === true ? null : result.value) }, (error: Error) => { this.destroy(error) })
    },
    destroy (error, done) {
      chunks.return().then(() => { done(error) }, done)
    }
  })
}
