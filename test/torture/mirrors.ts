import { setTimeout as delay } from 'node:timers/promises'
import { type Answer, noAnswer } from './client.ts'
import type { Follow } from './history.ts'
import { ofTask, ofV1, type Revealed, type TaskJob, type V1Job } from './revealed.ts'
import type { ServiceProcess } from './service-process.ts'
import { type Actor, pickNode } from './workload.ts'

/*
 * Clients that keep a copy of all jobs: they list them, follow the changes as pages of JSON or as a stream, at one
 * process or another, and are killed and started again with what they had saved.
 */

/** Where it goes on from (null: it has to list), and the version of each job. */
type Copy = { cursor: string | null, versions: Map<number, number> }

const emptyCopy = (): Copy => ({ cursor: null, versions: new Map() })
const copyOf = ({ cursor, versions }: Copy): Copy => ({ cursor, versions: new Map(versions) })

type Item = { cursor: string, jobId: string, version: number, job: V1Job | TaskJob | null }
type Page = { items: Item[], cursor: string, hasMore: boolean }
type List = { data: { items: TaskJob[], nextCursor: string | null } }

/** A request of a mirror, and when. */
type Asked = { node: ServiceProcess, what: string, startedAt: number, endedAt: number }

const isTaskJob = (job: V1Job | TaskJob): job is TaskJob => 'taskId' in job

/** `interruptsFeed`: whether what is broken may end a stream, or a cursor; then the jobs are listed again. */
export const createMirror = (actor: Actor, name: string, { interruptsFeed }: { interruptsFeed: boolean }) => {
  const { random, ask, stream, recorder, isStopped } = actor
  let saved = emptyCopy()
  let copy = emptyCopy()

  const see = ({ node, what, startedAt, endedAt }: Asked, jobId: string, version: number, revealed: Revealed): void => {
    const job = recorder.toJob(jobId)
    const least = copy.versions.get(job) ?? 0
    recorder.see({ kind: 'read', job, node: node.index, what, startedAt, endedAt, least }, revealed)
    copy.versions.set(job, Math.max(least, version))
  }

  const take = (asked: Asked, { cursor, jobId, version, job }: Item): void => {
    if (job === null) return recorder.complain(`${asked.what}: ${jobId} is gone`)
    const revealed = isTaskJob(job) ? ofTask(job) : ofV1(job, version)
    if (revealed.version !== version) recorder.complain(`${asked.what}: version ${version} over ${JSON.stringify(job)}`)
    see(asked, jobId, version, revealed)
    copy.cursor = cursor
  }

  const refuse = (what: string, node: ServiceProcess, answer: Answer): void => {
    if (answer.status !== 410 || !interruptsFeed) return recorder.refuse({ what, node: node.index, answer })
    copy = emptyCopy()
    saved = emptyCopy()
  }

  /** Returns whether it went well. */
  const list = async (): Promise<boolean> => {
    const node = pickNode(actor)
    copy = emptyCopy()
    let cursor: string | null = null
    for (let next: string | null = ''; next !== null;) {
      const answer = await ask(node, `/api/jobs?limit=100${next === '' ? '' : `&cursor=${next}`}`)
      if (answer.status !== 200) {
        recorder.refuse({ what: `${name}: list`, node: node.index, answer })
        return false
      }
      cursor ??= answer.headers['changes-cursor'] ?? null
      const { data } = JSON.parse(answer.text) as List
      for (const job of data.items) see({ node, what: `${name}: list`, ...answer }, job.taskId, job.version, ofTask(job))
      next = data.nextCursor
    }
    copy.cursor = cursor
    return true
  }

  /** Reads one page, and waits for it if it may. Returns null if that was not possible now. */
  const readPage = async (
    node: ServiceProcess, query: string, seconds: number, onItem: (item: Item, at: number) => void
  ): Promise<{ page: Page, answer: Answer } | null> => {
    const path = random.chance(0.5) ? '/api/v1/events' : '/api/events'
    const what = `${name}: page after ${copy.cursor ?? ''}`
    const wait = seconds === 0 ? '' : `&wait=${seconds}`
    const answer = await ask(
      node, `${path}?since=${copy.cursor ?? ''}${query}${wait}`, { waitMs: seconds * 1000 })
    if (answer.status !== 200) {
      refuse(what, node, answer)
      return null
    }
    const page = JSON.parse(answer.text) as Page
    for (const item of page.items) {
      take({ node, what, ...answer }, item)
      onItem(item, answer.endedAt)
    }
    copy.cursor = page.cursor
    return { page, answer }
  }

  const followPages = async (node: ServiceProcess, limitMs: number, follow: Follow): Promise<void> => {
    const endAt = follow.from + limitMs
    while (performance.now() < endAt && !isStopped()) {
      const got = await readPage(node, `&limit=${random.pick([1, 10, 100])}`, random.pick([1, 5]), ({ jobId, version }, at) => {
        follow.got.push({ job: recorder.toJob(jobId), version, at })
      })
      if (got === null) return
      follow.until = got.answer.endedAt
      if (random.chance(0.1)) saved = copyOf(copy)
    }
  }

  const followStream = async (node: ServiceProcess, limitMs: number, follow: Follow): Promise<void> => {
    const path = random.chance(0.5) ? '/api/v1/events' : '/api/events'
    const what = `${name}: events after ${copy.cursor ?? ''}`
    const headers = { 'last-event-id': copy.cursor ?? '' }
    const { end, answer } = await stream(node, path, { headers, limitMs }, ({ event, id, data }, at, startedAt) => {
      const item = JSON.parse(data) as Item
      if (event !== 'status' || id !== item.cursor) recorder.complain(`${what}: ${event} ${id ?? ''} ${data}`)
      take({ node, what, startedAt, endedAt: at }, item)
      follow.got.push({ job: recorder.toJob(item.jobId), version: item.version, at })
      follow.until = at
      if (random.chance(0.03)) saved = copyOf(copy)
      return !isStopped()
    })
    if (end === 'left') follow.until = answer.endedAt
    else if (end !== 'ended') refuse(what, node, end === 'cut' ? { ...answer, status: noAnswer.cut } : answer)
    else if (!interruptsFeed) recorder.complain(`${what}: the stream ended`)
  }

  const restart = async (): Promise<boolean> => {
    copy = copyOf(saved)
    if (copy.cursor === null) {
      if (!await list()) return false
      saved = copyOf(copy)
    }
    return true
  }

  return {
    run: async (): Promise<void> => {
      while (!isStopped()) {
        if (random.chance(0.05)) saved = emptyCopy()
        if ((copy.cursor === null || random.chance(0.4)) && !await restart()) {
          await delay(50)
          continue
        }
        const from = performance.now()
        const follow: Follow = { from, until: from, who: '', got: [] }
        const asPages = random.chance(0.5)
        const node = pickNode(actor)
        follow.who = `${name}, ${asPages ? 'pages' : 'a stream'} of process ${node.index} from ${from.toFixed(1)}`
        await (asPages ? followPages : followStream)(node, random.between(200, 6000), follow)
        recorder.follows.push(follow)
        await delay(random.between(0, 50))
      }
    },
    /** Reads what is left after what it had saved, and records what it then holds. */
    finish: async (): Promise<void> => {
      await restart()
      const node = pickNode(actor)
      for (let isDone = false; !isDone;) {
        const got = await readPage(node, '&limit=100', 0, () => {})
        const isOver = got === null && copy.cursor === null && await restart()
        if (got === null && !isOver) return recorder.complain(`${name} could not read the rest though nothing is broken`)
        isDone = got !== null && !got.page.hasMore && got.page.items.length === 0
      }
      recorder.mirrors.push({ who: name, versions: [...copy.versions].map(([job, version]) => ({ job, version })) })
    }
  }
}

export type MirrorClient = ReturnType<typeof createMirror>
