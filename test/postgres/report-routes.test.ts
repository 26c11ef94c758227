await import('../helpers/on-postgres.ts')
await import('../http/routes/workers/report-routes.test.ts')
