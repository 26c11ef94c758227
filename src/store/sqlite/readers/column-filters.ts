/*
 * Conditions on columns that another program may have filled with anything: they see what the views show (`toText` in
 * src/job/recorded/values.ts).
 */

/** The text that the views show for a column; null for none. */
const shownText = (column: string): string => `CASE typeof(${column})
  WHEN 'text' THEN nullif(${column}, '')
  WHEN 'integer' THEN CAST(${column} AS TEXT)
  WHEN 'real' THEN CASE ${column} WHEN CAST(${column} AS INTEGER)
    THEN CAST(CAST(${column} AS INTEGER) AS TEXT) ELSE CAST(${column} AS TEXT) END END`

/** Whether the type is that of the parameter `:type`, or any where this is null. */
export const isOfType = `(:type IS NULL OR ${shownText('+type')} = :type)`
