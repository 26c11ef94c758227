/** Values of promises, in their order. */
type Values<Promises extends readonly unknown[]> = { -readonly [Index in keyof Promises]: Awaited<Promises[Index]> }

/**
 * Waits for statements of one transaction that need nothing of each other's answers, and were begun in this order.
 * Postgres gets them at once, and runs them one after the other; SQLite runs them so anyway. When one fails, it waits for
 * the others before it throws the first failure, so that none runs beside the rollback.
 */
export const together = async <const Promises extends readonly unknown[]>(
  ...statements: Promises
): Promise<Values<Promises>> => {
  const settled = await Promise.allSettled(statements)
  for (const each of settled) if (each.status === 'rejected') throw each.reason
  return settled.map(each => each.status === 'fulfilled' ? each.value : undefined) as Values<Promises>
}
