await import('../helpers/on-postgres.ts')
await import('../http/routes/event-routes.test.ts')
