import type { Tx } from '../store.ts'

const toStateName = (name: string): string => `key:${name}`

/** Keeps a key that this service made, unless one of this name is there already. Returns the one that is there. */
export const keepOwnKey = async (tx: Tx, name: string, key: string): Promise<string> => {
  await tx.insertInto('ServiceState').values({ name: toStateName(name), value: key })
    .onConflict(conflict => conflict.column('name').doNothing()).execute()
  const { value } = await tx.selectFrom('ServiceState').select('value').where('name', '=', toStateName(name))
    .executeTakeFirstOrThrow()
  return value
}

/** Keeps a key of another database of this service in place of the one that is there. */
export const replaceOwnKey = async (tx: Tx, name: string, key: string): Promise<void> => {
  await tx.insertInto('ServiceState').values({ name: toStateName(name), value: key })
    .onConflict(conflict => conflict.column('name').doUpdateSet({ value: key })).execute()
}
