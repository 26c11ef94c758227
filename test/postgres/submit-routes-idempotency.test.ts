await import('../helpers/on-postgres.ts')
await import('../http/routes/submissions/submit-routes-idempotency.test.ts')
