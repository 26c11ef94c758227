await import('../helpers/on-postgres.ts')
await import('../http/routes/service-routes.test.ts')
