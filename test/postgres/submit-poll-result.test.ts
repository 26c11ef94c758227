await import('../helpers/on-postgres.ts')
await import('../scenarios/submit-poll-result.test.ts')
