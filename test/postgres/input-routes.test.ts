await import('../helpers/on-postgres.ts')
await import('../http/routes/input-routes.test.ts')
