await import('../helpers/on-postgres.ts')
await import('../http/routes/cancel-routes.test.ts')
