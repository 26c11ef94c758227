import t from 'tap'
import { runShort } from '../torture/short.ts'

// Processes that share a database and a Redis, while everything behind them is broken.

t.test('nothing that was answered is taken back, whatever breaks', t => runShort(t, 8))
