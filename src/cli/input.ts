import { readFileSync } from 'node:fs'
import { type JsonText, jsonText } from '../client/client.ts'
import { Exit, exitCodes } from './exit.ts'

/** The input of a submission: JSON text, `@file` or `@-` for standard input. It is sent as it is, with every digit. */
export const readInput = (input: string): JsonText => {
  const readText = (): string => {
    if (!input.startsWith('@')) return input
    try {
      return readFileSync(input === '@-' ? 0 : input.slice(1), 'utf8')
    } catch (error) {
      throw new Exit(exitCodes.usage, `job-status: --input: ${(error as Error).message}`)
    }
  }
  const text = readText()
  try {
    JSON.parse(text)
  } catch (error) {
    throw new Exit(exitCodes.usage, `job-status: --input: is not JSON: ${(error as Error).message}`)
  }
  return jsonText(text)
}
