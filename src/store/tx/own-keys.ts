import type { Tx } from '../store.ts'

/** Keeps a key that this service made, unless one of this name is there already. Returns the one that is there. */
export const keepOwnKey = async (tx: Tx, name: string, key: string): Promise<string> => {
  await tx.insertInto('ServiceState').values({ name: `key:${name}`, value: key })
    .onConflict(conflict => conflict.column('name').doNothing()).execute()
  const { value } = await tx.selectFrom('ServiceState').select('value').where('name', '=', `key:${name}`)
    .executeTakeFirstOrThrow()
  return value
}
