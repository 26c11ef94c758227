await import('../helpers/on-postgres.ts')
await import('../scenarios/exact-json.test.ts')
