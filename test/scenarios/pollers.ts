import type { Client } from '../helpers/client.ts'

/** What pollers saw: how many answers, and everything that should not have been. */
export type Sightings = { answers: number, versions: Set<number>, complaints: string[] }

const versionOf = (eTag: string | null): number => Number(/\.(\d+)\.\d+"$/.exec(eTag ?? '')?.[1] ?? Number.NaN)

/**
 * Polls jobs without pause, every other poller with the ETag it got last, until stopped. A poller that starts a
 * request after any of them saw a version must never be shown an older one.
 */
export const startPollers = (client: Client, jobIds: readonly string[], count: number) => {
  const seen: Sightings = { answers: 0, versions: new Set(), complaints: [] }
  const newest = new Map<string, number>()
  let isStopped = false

  const poll = async (jobId: string, withTag: boolean) => {
    let tag: string | null = null
    while (!isStopped) {
      const floor = newest.get(jobId) ?? 0
      const answer: Response | Error = await client.ask(`/api/v1/jobs/${jobId}`, {
        headers: withTag && tag !== null ? { 'if-none-match': tag } : {}
      }).then(async answer => {
        await answer.arrayBuffer()
        return answer
      }).catch((error: Error) => error)
      // A rejection that nobody waits for yet would end the process, and hide why the test had failed before.
      if (answer instanceof Error) {
        seen.complaints.push(`${answer.message}: ${String(answer.cause)}`)
        return
      }
      seen.answers++
      if (answer.status !== 200 && answer.status !== 304) {
        seen.complaints.push(`${jobId}: ${answer.status}`)
        continue
      }
      tag = answer.headers.get('etag')
      const version = versionOf(tag)
      if (!(version >= floor)) seen.complaints.push(`${jobId}: version ${version} after ${floor} had been shown`)
      newest.set(jobId, Math.max(newest.get(jobId) ?? 0, version))
      seen.versions.add(version)
    }
  }

  const pollers = Array.from({ length: count }, (_, i) => poll(jobIds[i % jobIds.length] ?? '', i % 2 === 1))
  return {
    seen,
    newest,
    stop: async () => {
      isStopped = true
      await Promise.all(pollers)
      return seen
    }
  }
}
