import t from 'tap'
import { failover } from '../torture/database.ts'
import { runShort } from '../torture/short.ts'

// Processes that share a Postgres, of which a synchronous standby takes the place.

t.test('nothing that was answered is taken back, whatever happens to Postgres', t =>
  runShort(t, 16, { database: 'postgres', burstSize: 8, only: [failover, 'Postgres', 'sessions', 'table'] }))
