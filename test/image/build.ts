import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Instruction, Stage } from './dockerfile.ts'
import { baseRoot, buildEnv, copyInto, copyRoot, runIn, type Setting } from './root.ts'

/*
 * Builds the stages of a Dockerfile, each in a root of its own.
 */

/** What the last stage makes: how its process runs, and what it declares. */
export type Image = {
  setting: Setting
  command: string[]
  health: string[]
  volumes: string[]
  stopSignal: string
  ports: string[]
}

const baseEnv = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }

const suiteOf = (from: string): string => {
  const [, major, suite = ''] = /^node:(\d+)-(\w+)-slim$/.exec(from) ?? []
  if (major === process.versions.node.split('.', 1)[0]) return suite
  throw new Error(`no root is like ${from}: this is Node ${process.version}`)
}

const declare = (image: Image, { name, text, words }: Instruction): void => {
  if (name === 'CMD') image.command = words
  else if (name === 'HEALTHCHECK') image.health = words
  else if (name === 'VOLUME') image.volumes.push(...words)
  else if (name === 'EXPOSE') image.ports.push(...words)
  else if (name === 'STOPSIGNAL') image.stopSignal = text
  else throw new Error(`${name}: this check knows no such instruction`)
}

type Roots = Map<string, string>
type Needs = { folder: string, context: string, log: (line: string) => void }

const execute = (image: Image, instruction: Instruction, { context, log, roots }: Needs & { roots: Roots }): void => {
  const { setting } = image
  const { name, text, words, flags } = instruction
  if (name === 'WORKDIR') {
    setting.cwd = text
    mkdirSync(join(setting.root, text), { recursive: true })
  } else if (name === 'USER') {
    setting.user = text
  } else if (name === 'ENV') {
    for (const [, key = '', value = ''] of text.matchAll(/(\w+)=(\S*)/g)) setting.env[key] = value
  } else if (name === 'COPY') {
    copyInto(flags.from === undefined ? context : roots.get(flags.from) ?? '', words, setting)
  } else if (name === 'RUN') {
    const beganAt = performance.now()
    const { status, output } = runIn({ ...setting, env: { ...setting.env, ...buildEnv() } }, ['/bin/sh', '-c', text])
    if (status !== 0) throw new Error(`RUN ${text}\n${output}`)
    log(`${((performance.now() - beganAt) / 1000).toFixed(1)} s  RUN ${text}`)
  } else {
    declare(image, instruction)
  }
}

/** Builds all stages; returns what the last one makes. */
export const buildImage = (stages: readonly Stage[], needs: Needs): Image => {
  const roots: Roots = new Map()
  let image: Image | undefined
  for (const [number, { from, alias, instructions }] of stages.entries()) {
    const root = join(needs.folder, `root-${number}`)
    copyRoot(roots.get(from) ?? baseRoot(suiteOf(from)), root)
    const setting: Setting = { root, cwd: '/', user: 'root', env: { ...baseEnv } }
    image = { setting, command: [], health: [], volumes: [], stopSignal: 'SIGTERM', ports: [] }
    for (const instruction of instructions) execute(image, instruction, { ...needs, roots })
    roots.set(alias ?? String(number), root)
  }
  if (image === undefined) throw new Error('the Dockerfile has no stage')
  return image
}
