import type { FastifyReply } from 'fastify'
import type { StatusEntry } from '../../../job/status-entry.ts'
import { mapInTurns } from '../../../turns.ts'
import { listItems } from '../../../views/list-items.ts'
import type { ViewName } from '../../paths.ts'

/** The JSON texts of visible entries as items of a list. Each entry holds its body as such a text. */
export const toItems = (view: ViewName, entries: readonly StatusEntry[]): Promise<string[]> =>
  mapInTurns(entries, listItems[view], ({ length }) => length)

/** The headers of every list. `changesCursor` was taken before anything was read. */
export const listHeaders = (changesCursor: string) => ({ vary: 'Authorization, Accept', 'changes-cursor': changesCursor })

/** Sends a list: its items, and the members that stand beside them. */
export const sendItems = (reply: FastifyReply, view: ViewName, items: readonly string[], rest: object): FastifyReply => {
  const json = `{"items":[${items.join(',')}],${JSON.stringify(rest).slice(1)}`
  return reply.type('application/json; charset=utf-8').send(view === 'v1' ? json : `{"success":true,"data":${json}}`)
}
