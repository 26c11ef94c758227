await import('../helpers/on-postgres.ts')
await import('../http/routes/workers/claim-routes.test.ts')
