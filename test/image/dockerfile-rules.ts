import type { Instruction, Stage } from './dockerfile.ts'

/*
 * The rules of hadolint that concern what a Dockerfile for Node has.
 */

type Breaks = (stage: Stage, stages: readonly Stage[]) => boolean
type Rule = [code: string, what: string, breaks: Breaks]

const all = ({ instructions }: Stage, name: string): Instruction[] =>
  instructions.filter(instruction => instruction.name === name)
/** Breaks where an instruction of that name does. */
const each = (name: string, breaks: (instruction: Instruction) => boolean): Breaks =>
  stage => all(stage, name).some(breaks)
const inRun = (expression: RegExp): Breaks => each('RUN', ({ text }) => expression.test(text))
const inLast = (breaks: (stage: Stage) => boolean): Breaks =>
  (stage, stages) => stage === stages.at(-1) && breaks(stage)
const earlier = (stage: Stage, stages: readonly Stage[]) => stages.slice(0, stages.indexOf(stage))

const hasSourcesFirst: Breaks = ({ instructions }) => {
  const sources = instructions.findIndex(({ name, words }) => name === 'COPY' && words[0] === '.')
  const after = sources === -1 ? [] : instructions.slice(sources)
  return after.some(({ name, text }) => name === 'RUN' && text.includes('npm ci'))
}

const copiesNowhere: Breaks = ({ instructions }) => {
  const copy = instructions.findIndex(({ name, words }) => name === 'COPY' && !words.at(-1)?.startsWith('/'))
  return copy !== -1 && !instructions.slice(0, copy).some(({ name }) => name === 'WORKDIR')
}

const rules: Rule[] = [
  ['DL3000', 'WORKDIR is absolute', each('WORKDIR', ({ text }) => !text.startsWith('/'))],
  ['DL3002', 'the last user is not root', inLast(stage =>
    ['root', '0', undefined].includes(all(stage, 'USER').at(-1)?.text))],
  ['DL3003', 'WORKDIR in place of cd', inRun(/(^|&& *)cd /)],
  ['DL3004', 'no sudo', inRun(/\bsudo\b/)],
  ['DL3006', 'an image has a tag', (stage, stages) =>
    !stage.from.includes(':') && !earlier(stage, stages).some(({ alias }) => alias === stage.from)],
  ['DL3007', 'latest is no version', ({ from }) => from.endsWith(':latest')],
  ['DL3008', 'apt-get install pins versions', inRun(/apt-get install(?!.*=)/)],
  ['DL3009', 'the lists of apt-get are removed', inRun(/^(?!.*\/var\/lib\/apt\/lists).*apt-get update/)],
  ['DL3016', 'npm install pins versions', inRun(/npm (install|i) /)],
  ['DL3020', 'COPY in place of ADD', each('ADD', () => true)],
  ['DL3021', 'COPY of several files has a folder', each('COPY', ({ words }) =>
    words.length > 2 && !words.at(-1)?.endsWith('/'))],
  ['DL3022', 'COPY --from names an earlier stage', (stage, stages) => all(stage, 'COPY').some(({ flags: { from } }) =>
    from !== undefined && !earlier(stage, stages).some(({ alias }) => alias === from))],
  ['DL3024', 'the names of stages differ', ({ alias }, stages) =>
    alias !== null && stages.filter(other => other.alias === alias).length > 1],
  ['DL3025', 'commands are JSON', stage => ['CMD', 'ENTRYPOINT', 'HEALTHCHECK'].some(name =>
    all(stage, name).some(({ isJson }) => !isJson))],
  ['DL3044', 'ENV does not refer to itself', each('ENV', ({ text }) => text.includes('$'))],
  ['DL3045', 'WORKDIR before a relative COPY', copiesNowhere],
  ['DL3057', 'a HEALTHCHECK', inLast(stage => all(stage, 'HEALTHCHECK').length !== 1)],
  ['DL3059', 'RUN after RUN is one', ({ instructions }) =>
    instructions.some(({ name }, at) => name === 'RUN' && instructions[at + 1]?.name === 'RUN')],
  ['DL4000', 'no MAINTAINER', each('MAINTAINER', () => true)],
  ['DL4003', 'one CMD', stage => all(stage, 'CMD').length > 1],
  ['DL4006', 'no pipe without pipefail', inRun(/^(?!.*pipefail).*[^|]\|[^|]/)],
  // Not of hadolint, but of the same kind.
  ['npm', 'the cache of npm is not shipped', inLast(stage => inRun(/^(?!.*npm cache clean).*npm ci/)(stage, []))],
  ['order', 'packages are installed before sources are copied, so that their layer is kept', hasSourcesFirst]
]

/** What breaks a rule, one a line. */
export const faultsOf = (stages: readonly Stage[]): string[] => rules.flatMap(([code, what, breaks]) =>
  stages.filter(stage => breaks(stage, stages)).map(({ from, alias }) => `${code} in ${alias ?? from}: ${what}`))
