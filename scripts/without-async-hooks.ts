import asyncHooks from 'node:async_hooks'
import { syncBuiltinESMExports } from 'node:module'

/*
 * tap follows each promise and each callback of a test file with an asynchronous hook, to know to which test an error
 * belongs that nothing catches. That takes a seventh of the CPU of a test process, most of it in V8's garbage collector.
 * Without it such an error ends the file, as it ends any Node program, and the runner reports the file as failed.
 */
Object.assign(asyncHooks, { createHook: () => ({ enable () {}, disable () {} }) })
syncBuiltinESMExports()
