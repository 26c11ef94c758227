import t from 'tap'
import { openReadOnlyStore } from '../../../../src/store/postgres/readers/read-only-store.ts'
import { readOnlyConformance } from '../../conformance/read-only.ts'
import { startMigrated } from '../migrated.ts'

const { open } = await startMigrated(t)

readOnlyConformance(t, async t => {
  const { url, run } = await open(t)
  const store = openReadOnlyStore(url)
  t.teardown(store.close)
  return {
    store,
    run,
    insertChunk: (startOffset, size) => run(`INSERT INTO JobInputChunk (inputId, startOffset, bytes)
      VALUES ('one', ${startOffset}, convert_to(repeat('x', ${size}), 'UTF8'))`)
  }
})
