import type { QueueReader } from '../../store.ts'
import { availableQuery, stuckQuery } from '../../tx/runs/queue.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'
import { createCountQueue } from './queue-count.ts'

export const createQueueReader = ({ database }: { database: Database }): QueueReader => {
  const { reader, writer } = database
  const ofAll = reader.prepare(availableQuery(writer, '', null, 0).compile().sql)
  const ofTenant = reader.prepare(availableQuery(writer, '', '', 0).compile().sql)
  const isAvailable = (type: string, tenant: string | null, now: number): boolean =>
    (tenant === null ? ofAll.get(type, now, 1) : ofTenant.get(type, now, tenant, 1)) !== undefined
  return {
    hasAvailable: async ({ types, tenant }, now) => guardRead(database, () => types.some(type => isAvailable(type, tenant, now))),
    hasStuck: async by => {
      const { sql, parameters } = stuckQuery(writer, by).limit(1).compile()
      return guardRead(database, () => reader.prepare(sql).get(...parameters) !== undefined)
    },
    count: createCountQueue({ database })
  }
}
