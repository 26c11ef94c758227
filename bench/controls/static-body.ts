/** A status as the service returns it under /api/v1. */
export const staticBody = '{"jobId":"job-4711","status":"Running","startTime":"2026-01-01T00:00:00.000Z",' +
  '"endTime":null,"resultUrl":null,"errorDetails":null}'

export const contentType = 'application/json; charset=utf-8'
