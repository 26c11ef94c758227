import { OperatorError } from '../errors.ts'

/** The problems of the environment so far, one line each. */
export type Problems = string[]

/** The environment is not valid; `problems` names every wrong variable and what it must be. */
export class ConfigError extends OperatorError {
  readonly problems: readonly string[]

  constructor (problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}
