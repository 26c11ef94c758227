await import('../helpers/on-postgres.ts')
await import('../http/routes/lists/list-routes-tasks.test.ts')
