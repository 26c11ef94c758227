import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

/*
 * Removes the types from modules of the page. In a thread: the compiler takes some 100 ms to load, and Node prints a
 * warning about it, which is switched off for this thread alone.
 */

const paths = workerData as readonly string[]
parentPort?.postMessage(paths.map(path => stripTypeScriptTypes(readFileSync(path, 'utf8'))))
