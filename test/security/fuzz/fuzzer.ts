import type { Json } from '../../helpers/client.ts'
import { createConnection, readAnswers, sendAlone } from '../../helpers/raw-http.ts'
import { createJudge } from './judge.ts'
import { createRandom } from '../../helpers/random.ts'
import { createKnown, learn } from './known.ts'
import { damage, nextRequest, type Operation } from './requests.ts'

const connectionsMax = 8
// Of all requests, how many are sent damaged, each on a connection of its own.
const damagedShare = 0.1

/** Something that should not be: of which request of the run, and the bytes that brought it about. */
export type Violation = { at: number, fault: string, bytes: Buffer }

export type FuzzReport = { sent: number, damaged: number, violations: Violation[], met: Map<string, number> }

type FuzzOptions = {
  url: string, document: Json, seed: number, requests: number, violationsMax?: number, isWholeOnly?: boolean
}

/** What the document has. */
export const operationsOf = (document: Json): Operation[] =>
  Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item).map(([method, definition]) => ({ path, method: method.toUpperCase(), definition })))

/**
 * Sends requests made from the document and from the seed, a few at a time, and judges each answer. What a request is
 * follows from the seed and from what earlier answers brought; ends early once there are enough violations.
 * `isWholeOnly`: none of them damaged.
 */
export const fuzz = async ({
  url, document, seed, requests, violationsMax = 10, isWholeOnly = false
}: FuzzOptions): Promise<FuzzReport> => {
  const port = Number(new URL(url).port)
  const operations = operationsOf(document)
  const { judge, judgeAny, met } = createJudge(document, operations)
  const known = createKnown()
  const random = createRandom(seed)
  const connections = Array.from({ length: connectionsMax }, () => createConnection(port))
  const report: FuzzReport = { sent: 0, damaged: 0, violations: [], met }

  const sendWhole = async (at: number, connection: (typeof connections)[number]) => {
    const request = nextRequest(operations, known, random)
    const exchanged = await connection.exchange(request.bytes, request.method === 'HEAD')
    const fault = judge(request, exchanged)
    if (fault !== undefined) report.violations.push({ at, fault, bytes: request.bytes })
    return exchanged.kind === 'answered' ? { request, answer: exchanged.answer } : undefined
  }

  const sendDamaged = async (at: number) => {
    const { method, bytes: whole } = nextRequest(operations, known, random)
    const bytes = damage(whole, random)
    report.damaged++
    // An answer under way is cut off when the client closes its half. The damage may have made two requests of one, or a HEAD of a GET.
    const isHead = method === 'HEAD' || bytes.subarray(0, 4).toString() === 'HEAD'
    const received = await sendAlone(port, bytes, { lingerMs: 30 })
    let fault = received.isClosed ? undefined : 'the connection was not closed'
    try {
      const [answer] = isHead ? [] : readAnswers(received.bytes, true)
      fault ??= answer === undefined ? undefined : judgeAny(answer)
    } catch (error) {
      fault ??= (error as Error).message
    }
    if (fault !== undefined) report.violations.push({ at, fault, bytes })
    return undefined
  }

  while (report.sent < requests && report.violations.length < violationsMax) {
    const begun = report.sent
    // Made in turn and learned from in turn, so that a seed makes the same requests again.
    const exchanges = await Promise.all(connections.slice(0, requests - begun).map((connection, at) =>
      random.chance(isWholeOnly ? 0 : damagedShare) ? sendDamaged(begun + at) : sendWhole(begun + at, connection)))
    for (const exchange of exchanges) if (exchange !== undefined) learn(known, exchange.request, exchange.answer)
    report.sent += exchanges.length
  }
  for (const { close } of connections) close()
  return report
}
