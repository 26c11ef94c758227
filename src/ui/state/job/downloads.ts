import type { Api } from '../../api/api.ts'
import { download, type DownloadEnd, type DownloadNeeds } from './download.ts'
import { toJobPath } from '../job.ts'
import type { Content } from './preview.ts'

/** The bytes of a job that can be downloaded. */
export type Source = { jobId: string, name: 'input' | 'result' }

/** A download. `end` null: it goes on. */
export type DownloadState = { received: number, end: DownloadEnd | 'failed' | null, abort: () => void }

type Chooser = { showSaveFilePicker?: (options: { suggestedName: string }) => ReturnType<NonNullable<DownloadNeeds['chooseFile']>> }

// A click on a link to a blob that is to be saved: the bytes are never displayed.
const createSave = ({ document, URL }: Window & typeof globalThis) => (bytes: Blob, name: string): void => {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(bytes)
  link.download = name
  link.click()
  setTimeout(() => { URL.revokeObjectURL(link.href) }, 60_000)
}

const cutMsMax = 60_000

export type DownloadsNeeds = { api: Api, window: Window & typeof globalThis, onChange: () => void }

/** The downloads of this page. */
export const createDownloads = ({ api, window, onChange }: DownloadsNeeds) => {
  const states = new Map<string, DownloadState>()
  const { showSaveFilePicker: choose } = window as Chooser
  const needs: DownloadNeeds = {
    chooseFile: choose === undefined ? null : (name: string) => choose.call(window, { suggestedName: name }),
    save: createSave(window)
  }
  const keyOf = ({ jobId, name }: Source): string => `${jobId} ${name}`
  // A result goes on where its connection was cut, and its digest is checked.
  const open = ({ jobId, name }: Source, signal: AbortSignal): Promise<Response> => name === 'result'
    ? api.result(jobId, { signal, patienceMs: cutMsMax })
    : api.request(`${toJobPath(jobId)}/input`, { signal, headers: { accept: '*/*' } })
  const update = (key: string, change: Partial<DownloadState>): void => {
    const state = states.get(key)
    if (state !== undefined) states.set(key, { ...state, ...change })
    onChange()
  }
  return {
    downloadOf: (source: Source): DownloadState | null => states.get(keyOf(source)) ?? null,
    download: (source: Source, content: Content): void => {
      const connection = new AbortController()
      const { signal } = connection
      const key = keyOf(source)
      states.set(key, { received: 0, end: null, abort: () => { connection.abort() } })
      const onProgress = (received: number): void => { update(key, { received }) }
      download(needs, () => open(source, signal), content, signal, onProgress).then(
        end => { update(key, { end }) },
        () => { update(key, { end: 'failed' }) }
      )
      onChange()
    },
    /** They belong to the token before. */
    stopDownloads: (): void => {
      for (const { abort } of states.values()) abort()
      states.clear()
    }
  }
}
