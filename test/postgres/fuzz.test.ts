await import('../helpers/on-postgres.ts')
await import('../security/fuzz.test.ts')
