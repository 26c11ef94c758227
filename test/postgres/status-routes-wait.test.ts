await import('../helpers/on-postgres.ts')
await import('../http/routes/status-routes-wait.test.ts')
