import { createProgram } from '../../src/cli/program.ts'

/*
 * `job-status serve`, as a program without arguments.
 */

await createProgram().parseAsync(['serve'], { from: 'user' })
