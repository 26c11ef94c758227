import { type StatusEntry, type EntryState, entryStates } from '../job/status-entry.ts'

/*
 * The format of an entry in Redis: one line of facts, then the tenant and both bodies as they are, so that a hit parses
 * one line and serializes nothing. `E` and the version come first, where the scripts in Redis match them; a token
 * begins with `T`. The number of the representation comes last, because a process that makes other bodies of the same
 * record must not use these.
 */
const format = new RegExp(`^E${[
  /(\d{1,16}) ([a-z]+) (\d{1,3}) (\d{1,9}) (\d{1,16}) ([01])([01]) ([A-Za-z0-9._~-]{1,128})/,
  /(-|\d{1,9}) (\d{1,9}) (\d{1,9}) (\d{1,10})/
].map(({ source }) => source).join(' ')}$`)

const isEntryState = (text: string): text is EntryState => (entryStates as readonly string[]).includes(text)

export const encodeEntry = (entry: StatusEntry, representation: number): string => {
  const { version, state, percent, pollAfterMs, expiredAt, jobId, tenant, v1Body, taskBody } = entry
  const flags = `${Number(entry.hasResult)}${Number(entry.canCancel)}`
  const lengths = `${tenant === null ? '-' : tenant.length} ${v1Body.length} ${taskBody.length}`
  const facts = `${state} ${percent} ${pollAfterMs} ${expiredAt} ${flags} ${jobId} ${lengths} ${representation}`
  return `E${version} ${facts}\n${tenant ?? ''}${v1Body}${taskBody}`
}

/**
 * Returns the entry for this job, or undefined if the text is anything else: other programs can write to a shared
 * cache. The bodies must have the lengths named in the first line, and be those of this job.
 */
export const decodeEntry = (text: string, jobId: string, representation: number): StatusEntry | undefined => {
  const lineEnd = text.indexOf('\n')
  const facts = lineEnd === -1 ? null : format.exec(text.slice(0, lineEnd))
  if (facts === null) return undefined
  const [
    , version = '', state = '', percent, pollAfterMs, expiredAt, hasResult, canCancel, id, tenantLength = '', v1Length,
    taskLength, itsRepresentation
  ] = facts
  if (id !== jobId || !isEntryState(state) || Number(itsRepresentation) !== representation) return undefined
  const tenantEnd = lineEnd + 1 + (tenantLength === '-' ? 0 : Number(tenantLength))
  const v1End = tenantEnd + Number(v1Length)
  if (v1End + Number(taskLength) !== text.length) return undefined
  const v1Body = text.slice(tenantEnd, v1End)
  if (v1Body !== '' && !v1Body.startsWith(`{"jobId":"${jobId}",`)) return undefined
  return {
    jobId,
    version: Number(version),
    tenant: tenantLength === '-' ? null : text.slice(lineEnd + 1, tenantEnd),
    state,
    percent: Number(percent),
    pollAfterMs: Number(pollAfterMs),
    expiredAt: Number(expiredAt),
    hasResult: hasResult === '1',
    canCancel: canCancel === '1',
    v1Body,
    taskBody: text.slice(v1End)
  }
}
