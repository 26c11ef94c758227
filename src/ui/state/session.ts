import { type Claims, readClaims } from '../api/token.ts'
import type { TextStorage } from './table/columns.ts'

/*
 * The token of this tab. It is kept in sessionStorage: another tab, and a later start of the browser, do not have it.
 */

const key = 'job-status.token'

/** `problem`: why a token has to be entered; null: the one that is there counts as valid. */
export type Session = {
  token: () => string | null
  claims: () => Claims | null
  problem: () => string | null
  has: (scope: string) => boolean
  /** Returns whether the text looks like a token. */
  enter: (text: string) => boolean
  /** The service has rejected a token, which may have been replaced meanwhile. */
  reject: (token: string, reason: string) => void
  /** Forgets the token. */
  leave: () => void
  /** Notices that the token has expired. */
  checkExpiry: (now: number) => void
}

const missing = 'Paste a token to see jobs.'

/** `onChange` is called after each change. */
export const createSession = (storage: TextStorage, onChange: () => void): Session => {
  let token = storage.getItem(key)
  let claims = token === null ? null : readClaims(token)
  let problem: string | null = token === null ? missing : null

  const ask = (reason: string): void => {
    problem = reason
    onChange()
  }

  return {
    token: () => token,
    claims: () => claims,
    problem: () => problem,
    has: scope => claims?.scopes.includes(scope) ?? false,
    enter: text => {
      const entered = text.trim().replace(/^Bearer\s+/i, '')
      const found = readClaims(entered)
      if (found === null) {
        ask('This is not a token: a JWT has three parts, with the claims sub and exp.')
        return false
      }
      token = entered
      claims = found
      problem = null
      storage.setItem(key, entered)
      onChange()
      return true
    },
    reject: (rejected, reason) => {
      if (rejected === token && problem === null) ask(`The service does not accept the token: ${reason}.`)
    },
    leave: () => {
      storage.removeItem(key)
      token = null
      claims = null
      ask(missing)
    },
    checkExpiry: now => {
      if (problem === null && claims !== null && claims.expiresAt <= now) ask('The token has expired. Paste a new one to go on.')
    }
  }
}
