/*
 * One cell of a cache, and everything that some scheme or other does to it. Each command is atomic.
 */

/** A token is named by the number of who made it, from 1. */
export type Cell = { kind: 'empty' } | { kind: 'token', token: number } | { kind: 'entry', version: number }

/** `token` 0: none. */
export type Command =
  | { do: 'get' | 'delete' }
  | { do: 'set' | 'set-if-newer' | 'outdate', version: number }
  | { do: 'lease' | 'lease-alone', token: number }
  | { do: 'fill' | 'expose', version: number, token: number }

export type Reply = { kind: 'done' | 'miss' } | { kind: 'hit', version: number } | { kind: 'token', token: number }

export const empty: Cell = { kind: 'empty' }
const done: Reply = { kind: 'done' }
const miss: Reply = { kind: 'miss' }

const entryOf = (version: number): Cell => ({ kind: 'entry', version })
const hit = (version: number): Reply => ({ kind: 'hit', version })

const expose = (cell: Cell, version: number, token: number): Cell => {
  switch (cell.kind) {
    case 'empty': return cell
    case 'token': return cell.token === token ? entryOf(version) : empty
    case 'entry': return cell.version < version ? entryOf(version) : cell
  }
}

export const run = (cell: Cell, command: Command): { cell: Cell, reply: Reply } => {
  switch (command.do) {
    case 'get': return { cell, reply: cell.kind === 'entry' ? hit(cell.version) : miss }
    case 'delete': return { cell: empty, reply: done }
    case 'set': return { cell: entryOf(command.version), reply: done }
    case 'set-if-newer': return {
      cell: cell.kind === 'entry' && cell.version >= command.version ? cell : entryOf(command.version), reply: done
    }
    case 'outdate': return {
      cell: cell.kind === 'entry' && cell.version >= command.version ? cell : empty, reply: done
    }
    // Who comes second gets the same token, or (as memcache has it) none, and then may not fill.
    case 'lease': case 'lease-alone':
      if (cell.kind === 'entry') return { cell, reply: hit(cell.version) }
      if (cell.kind === 'token') {
        return { cell, reply: command.do === 'lease' ? { kind: 'token', token: cell.token } : miss }
      }
      return { cell: { kind: 'token', token: command.token }, reply: { kind: 'token', token: command.token } }
    case 'fill': return {
      cell: cell.kind === 'token' && cell.token === command.token ? entryOf(command.version) : cell, reply: done
    }
    case 'expose': return { cell: expose(cell, command.version, command.token), reply: done }
  }
}

export const encodeCell = (cell: Cell): number => {
  switch (cell.kind) {
    case 'empty': return 0
    case 'token': return 2 * cell.token + 1
    case 'entry': return 2 * cell.version + 2
  }
}

const commandNames: ReadonlyArray<Command['do']> = [
  'get', 'delete', 'set', 'set-if-newer', 'outdate', 'lease', 'lease-alone', 'fill', 'expose'
]

export const encodeCommand = (command: Command): [number, number, number] => [
  commandNames.indexOf(command.do), 'version' in command ? command.version : 0, 'token' in command ? command.token : 0
]

export const describeCommand = (command: Command): string => [
  command.do, ...'version' in command ? [`v${command.version}`] : [],
  ...'token' in command && command.token > 0 ? [`with token ${command.token}`] : []
].join(' ')

export const describeReply = (reply: Reply): string => {
  switch (reply.kind) {
    case 'done': case 'miss': return reply.kind
    case 'hit': return `hit v${reply.version}`
    case 'token': return `token ${reply.token}`
  }
}
