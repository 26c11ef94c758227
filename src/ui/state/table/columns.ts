/** The columns of the table, in their order. */
export const columns = ['state', 'type', 'id', 'progress', 'age', 'duration', 'attempt'] as const
export type Column = typeof columns[number]

const key = 'job-status.columns'

/** Where a browser remembers texts. */
export type TextStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>

/** The columns that this browser shows: all of them, unless the user has hidden some. The id always is. */
export const loadColumns = (storage: TextStorage): readonly Column[] => {
  const hidden = (storage.getItem(key) ?? '').split(' ')
  return columns.filter(column => column === 'id' || !hidden.includes(column))
}

/** Shows or hides a column, and remembers it. */
export const toggleColumn = (storage: TextStorage, shown: readonly Column[], column: Column): readonly Column[] => {
  const next = columns.filter(name => name === column ? !shown.includes(name) : shown.includes(name))
  storage.setItem(key, columns.filter(name => !next.includes(name)).join(' '))
  return loadColumns(storage)
}
