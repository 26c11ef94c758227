import { readFileSync, statSync } from 'node:fs'
import { ServerUnusable } from '../failures.ts'

/* A file of passwords, one a line, as libpq reads it: host:port:database:user:password, * for any. */

type Connection = { host: string, port: number, database?: string | undefined, user?: string | undefined }

// A backslash makes the next character one of the field.
const toFields = (line: string): string[] =>
  (line.match(/(?:^|:)(?:\\.|[^:\\])*/g) ?? []).map(field => field.replace(/^:/, '').replace(/\\(.)/g, '$1'))

const findPassword = (text: string, { host, port, database = '', user = '' }: Connection): string | undefined => {
  // A folder is that of a socket, which the file calls localhost.
  const wanted = [host.startsWith('/') ? 'localhost' : host, String(port), database, user]
  const lines = text.split(/\r?\n/).filter(line => line !== '' && !line.startsWith('#'))
  const fields = lines.map(toFields).find(fields =>
    fields.length === 5 && wanted.every((value, index) => fields[index] === '*' || fields[index] === value))
  return fields?.[4]
}

/**
 * Reads the password of each new connection, so that it can be changed while the service runs. Throws ServerUnusable if
 * the file cannot be read or others may read it.
 */
export const createReadPassword = (path: string) => {
  const readText = (): string => {
    try {
      if ((statSync(path).mode & 0o077) !== 0) throw new Error('others may read it; its mode must be 0600')
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new ServerUnusable(`passfile ${path}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  readText()
  return async (connection?: Connection): Promise<string> => {
    const password = connection === undefined ? undefined : findPassword(readText(), connection)
    if (password === undefined) throw new ServerUnusable(`passfile ${path} has no password for this connection`)
    return password
  }
}
