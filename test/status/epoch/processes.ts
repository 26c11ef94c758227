import type { Test } from 'tap'
import { createWorld, type Node, type NodeOptions, type World } from './epoch-world.ts'

/** Several processes that use one cache. */
export const together = async (t: Test, count = 2, options: NodeOptions = {}) => {
  const world = await createWorld(t)
  const nodes: Node[] = []
  for (let i = 0; i < count; i++) nodes.push(await world.start(options))
  await world.pass(1000)
  const [a, b, c] = nodes
  if (a === undefined || b === undefined) throw new Error('too few')
  t.same(nodes.map(node => node.mode()), nodes.map(() => 'on'))
  return { ...world, a, b, c: c ?? b, nodes }
}

/** Lets time pass until a condition holds. Returns how long that took, in ms. */
export const passUntil = async (
  { pass }: Pick<World, 'pass'>, isSo: () => boolean, limitMs = 30_000
): Promise<number> => {
  let ms = 0
  for (; !isSo(); ms += 10) {
    if (ms > limitMs) throw new Error(`not within ${limitMs} ms`)
    await pass(10)
  }
  return ms
}

/**
 * How long a process waits, in ms, that would reveal something without exposing it; at most until it exposes again.
 */
export const reveals = async (world: World, node: Node): Promise<number> => {
  let isDone = false
  let failure: Error | undefined
  node.epoch.awaitOldLeases().then(() => { isDone = true }, (error: Error) => { failure = error })
  await world.settle()
  return await passUntil(world, () => {
    if (failure !== undefined) throw failure
    return isDone
  })
}
