import type { SpawnedService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'

/**
 * Submits reports until one runs at the moment at which the process is suspended: on a busy machine some end before.
 * `beside` submits what is to wait behind it. Returns the job of that report, and the version that it was last shown with.
 */
export const suspendInReport = async (
  service: SpawnedService, beside: () => Promise<void> = () => Promise.resolve()
): Promise<{ jobId: string, shown: number }> => await until(async () => {
  const jobId = await service.submit('report', {})
  await beside()
  const shown = await until(async () => {
    const { data } = await service.askJson(`/api/jobs/${jobId}/status`)
    return data.status !== 'queued' && Number(data.version)
  }, 'the run')
  service.process.kill('SIGSTOP')
  const status = await service.sql(`SELECT status FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  if (status === 'Running') return { jobId, shown }
  service.process.kill('SIGCONT')
  return undefined
}, 'a report that is suspended while it runs')
