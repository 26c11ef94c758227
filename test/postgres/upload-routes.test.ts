await import('../helpers/on-postgres.ts')
await import('../http/routes/workers/upload-routes.test.ts')
