await import('../helpers/on-postgres.ts')
await import('../http/routes/results/result-routes-partial.test.ts')
