import { stripTypeScriptTypes } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { readPageModules } from './page-modules.ts'

/*
 * Removes the types from the modules of the page. In a thread: the compiler takes some 100 ms to load, and Node prints a
 * warning about it, which is switched off for this thread alone.
 */

const { root, main } = workerData as { root: string, main: string }
parentPort?.postMessage(readPageModules(main, root, source => stripTypeScriptTypes(source)))
