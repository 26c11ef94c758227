import type { Api } from '../api/api.ts'
import { download, type DownloadEnd, type DownloadNeeds } from './download.ts'
import type { Content } from './preview.ts'

/** A download, by its path. `end` null: it goes on. */
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

export type DownloadsNeeds = { api: Api, window: Window & typeof globalThis, onChange: () => void }

/** The downloads of this page. */
export const createDownloads = ({ api, window, onChange }: DownloadsNeeds) => {
  const states = new Map<string, DownloadState>()
  const { showSaveFilePicker: choose } = window as Chooser
  const needs = {
    api,
    chooseFile: choose === undefined ? null : (name: string) => choose.call(window, { suggestedName: name }),
    save: createSave(window)
  }
  const update = (path: string, change: Partial<DownloadState>): void => {
    const state = states.get(path)
    if (state !== undefined) states.set(path, { ...state, ...change })
    onChange()
  }
  return {
    downloadOf: (path: string): DownloadState | null => states.get(path) ?? null,
    download: (path: string, content: Content): void => {
      const connection = new AbortController()
      states.set(path, { received: 0, end: null, abort: () => { connection.abort() } })
      const onProgress = (received: number): void => { update(path, { received }) }
      download(needs, path, content, connection.signal, onProgress).then(
        end => { update(path, { end }) },
        () => { update(path, { end: 'failed' }) }
      )
      onChange()
    }
  }
}
