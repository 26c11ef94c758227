await import('../helpers/on-postgres.ts')
await import('../http/routes/feed/feed-routes.test.ts')
