/*
 * Reads a Dockerfile into what its stages do.
 */

/** One instruction; `words`: what follows its name, as JSON or split at blanks. */
export type Instruction = {
  name: string
  text: string
  words: string[]
  isJson: boolean
  flags: Record<string, string>
}

export type Stage = { from: string, alias: string | null, instructions: Instruction[] }

const splitLines = (text: string): string[] => {
  const withoutComments = text.split('\n').filter(line => !/^\s*#/.test(line)).join('\n')
  return withoutComments.replace(/\\\n\s*/g, '').split('\n').filter(line => line.trim() !== '')
}

const parseJson = (text: string): string[] | undefined => {
  if (!text.startsWith('[')) return undefined
  const words: unknown = JSON.parse(text)
  if (Array.isArray(words) && words.every(word => typeof word === 'string')) return words
  throw new Error(`no list of strings: ${text}`)
}

const parseInstruction = (line: string): Instruction => {
  const [, name = '', rest = ''] = /^(\w+)\s+(.*)$/s.exec(line.trim()) ?? []
  const flags: Record<string, string> = {}
  const text = rest.replace(/^(--[\w-]+=\S+\s+)+/, found => {
    for (const flag of found.trim().split(/\s+/)) {
      const [key = '', value = ''] = flag.slice(2).split(/=(.*)/s)
      flags[key] = value
    }
    return ''
  })
  const json = parseJson(name === 'HEALTHCHECK' ? text.replace(/^CMD\s+/, '') : text)
  return { name, text, words: json ?? text.split(/\s+/), isJson: json !== undefined, flags }
}

/** The stages of a Dockerfile. */
export const parseDockerfile = (text: string): Stage[] => {
  const stages: Stage[] = []
  for (const instruction of splitLines(text).map(parseInstruction)) {
    const { name, words: [from = '', , alias = null] } = instruction
    if (name === 'FROM') stages.push({ from, alias, instructions: [] })
    else stages.at(-1)?.instructions.push(instruction)
  }
  return stages
}
