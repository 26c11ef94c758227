await import('../helpers/on-postgres.ts')
await import('../http/routes/callback-routes.test.ts')
