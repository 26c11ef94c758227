import { AliasNode, ColumnNode, PostgresQueryCompiler, ReferenceNode, type SelectionNode } from 'kysely'

/**
 * Compiles names in lower case, as Postgres folds them: the catalogue has them so, and other programs need no quotes.
 * The columns of a result keep the names that the caller wrote: `select "log"."jobid" as "jobId"`. A `selectAll()`
 * yields the names of the catalogue, so statements name their columns.
 */
export class FoldingCompiler extends PostgresQueryCompiler {
  #keepsCase = false

  protected override sanitizeIdentifier (name: string): string {
    return super.sanitizeIdentifier(this.#keepsCase ? name : name.toLowerCase())
  }

  #keepingCase (work: () => void): void {
    this.#keepsCase = true
    try {
      work()
    } finally {
      this.#keepsCase = false
    }
  }

  // The results of subqueries and of WITH are names inside the statement.
  #isOutermost (): boolean {
    return !this.nodeStack.slice(1).some(({ kind }) => kind.endsWith('QueryNode'))
  }

  protected override visitSelection (node: SelectionNode): void {
    const { selection } = node
    if (!this.#isOutermost()) return super.visitSelection(node)
    if (AliasNode.is(selection)) {
      this.visitNode(selection.node)
      this.append(' as ')
      return this.#keepingCase(() => { this.visitNode(selection.alias) })
    }
    super.visitSelection(node)
    const column = ReferenceNode.is(selection) ? selection.column : selection
    if (!ColumnNode.is(column) || column.column.name === column.column.name.toLowerCase()) return
    this.append(' as ')
    this.#keepingCase(() => { this.visitNode(column.column) })
  }
}
