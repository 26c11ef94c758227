// Not knip: knip's platform-specific binaries make the lock file depend on the platform.
// Fails if an export of src is imported nowhere, or if a package is unused or not declared in package.json.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, relative, resolve } from 'node:path'
import ts from 'typescript'

interface Manifest {
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  scripts?: Record<string, string>
}

// The page is compiled for browsers, with settings of its own.
const configs = ['tsconfig.json', 'src/ui/tsconfig.json'].map(path => {
  const { config } = ts.readConfigFile(path, path => ts.sys.readFile(path)) as { config: unknown }
  return ts.parseJsonConfigFileContent(config, ts.sys, dirname(resolve(path)))
})
const program = ts.createProgram(configs.flatMap(({ fileNames }) => fileNames), configs[0]?.options ?? {})
const checker = program.getTypeChecker()
const ownFiles = program.getSourceFiles().filter(file => !file.fileName.includes('/node_modules/'))
const isSrc = (file: ts.SourceFile): boolean => relative('.', file.fileName).startsWith('src/')
const isScript = (file: ts.SourceFile): boolean => relative('.', file.fileName).startsWith('scripts/')

const usedSymbols = new Set<ts.Symbol>()
const entries = ['src/main.ts', 'src/ui/main.ts', 'src/cli/main.ts', 'src/client/client.ts']
const entryFiles = new Set(entries.map(path => resolve(path)))
const importedBy = new Map<string, { runs: boolean }>()

// What an import or an `export { … }` of another module's name stands for.
function toDeclared (symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}

function useModule (specifier: ts.Node, file: ts.SourceFile, names: readonly ts.Node[] | 'all'): void {
  if (!ts.isStringLiteral(specifier)) return
  if (!specifier.text.startsWith('.') && !specifier.text.startsWith('node:')) {
    const name = specifier.text.split('/').slice(0, specifier.text.startsWith('@') ? 2 : 1).join('/')
    importedBy.set(name, { runs: isSrc(file) || isScript(file) || (importedBy.get(name)?.runs ?? false) })
  }
  const module = checker.getSymbolAtLocation(specifier)
  if (names === 'all' && module) for (const symbol of checker.getExportsOfModule(module)) usedSymbols.add(toDeclared(symbol))
  if (names === 'all') return
  for (const node of names) {
    const symbol = checker.getSymbolAtLocation(node)
    if (symbol) usedSymbols.add(toDeclared(symbol))
  }
}

function visit (node: ts.Node, file: ts.SourceFile): void {
  if (ts.isImportDeclaration(node)) {
    const bindings = node.importClause?.namedBindings
    const names = bindings && ts.isNamedImports(bindings) ? bindings.elements.map(element => element.name) : []
    const isNamespace = bindings !== undefined && ts.isNamespaceImport(bindings)
    const defaultName = node.importClause?.name ? [node.importClause.name] : []
    useModule(node.moduleSpecifier, file, isNamespace ? 'all' : [...names, ...defaultName])
  } else if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
    useModule(node.moduleSpecifier, file, 'all')
  } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword && node.arguments[0]) {
    useModule(node.arguments[0], file, 'all')
  } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    useModule(node.argument.literal, file, 'all')
  } else if (ts.isNewExpression(node) && node.expression.getText(file) === 'URL') {
    // Worker threads and child processes are started by URL, without an import.
    const target = node.arguments?.[0]
    if (target && ts.isStringLiteral(target) && target.text.startsWith('.')) {
      entryFiles.add(resolve(dirname(file.fileName), target.text))
    }
  }
  ts.forEachChild(node, child => { visit(child, file) })
}

// A type used only in a signature of its own file does not have to be imported elsewhere.
function isTypeOfOwnFile (symbol: ts.Symbol, file: ts.SourceFile): boolean {
  if (symbol.flags & ts.SymbolFlags.Value) return false
  const mentions = (node: ts.Node): boolean =>
    (ts.isTypeReferenceNode(node) && checker.getSymbolAtLocation(node.typeName) === symbol) ||
    (ts.forEachChild(node, mentions) ?? false)
  return mentions(file)
}

function unusedExports (): string[] {
  // Made from the OpenAPI document, of which the client uses a part.
  const isMade = (file: ts.SourceFile): boolean => file.fileName.endsWith('/src/client/openapi.ts')
  return ownFiles.filter(file => isSrc(file) && !isMade(file) && !entryFiles.has(resolve(file.fileName))).flatMap(file => {
    const module = checker.getSymbolAtLocation(file)
    return (module ? checker.getExportsOfModule(module) : [])
      .filter(symbol => !usedSymbols.has(toDeclared(symbol)) && !isTypeOfOwnFile(symbol, file))
      .map(symbol => `${relative('.', file.fileName)}: export ${symbol.name} is imported nowhere`)
  })
}

function isUsedAsTool (name: string, text: string): boolean {
  const manifest = readFileSync(`node_modules/${name}/package.json`, 'utf8')
  const { bin } = JSON.parse(manifest) as { bin?: string | Record<string, string> }
  const words = [name, ...(typeof bin === 'object' ? Object.keys(bin) : [])]
  return words.some(word => new RegExp(`(?<![\\w@/-])${word}(?![\\w/-])`).test(text))
}

function packageProblems (): string[] {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest
  const { dependencies = {}, devDependencies = {}, scripts = {} } = manifest
  const toolFiles = [
    '.ci/run', 'eslint.config.js', '.dependency-cruiser.cjs',
    ...globSync('{scripts,test,bench}/**/*.{ts,mjs}', { exclude: ['**/node_modules/**'] })
  ].filter(path => existsSync(path))
  const text = [...Object.values(scripts), ...toolFiles.map(path => readFileSync(path, 'utf8'))].join('\n')
  const declared = { ...dependencies, ...devDependencies }
  return [
    ...Object.keys(dependencies).filter(name => !importedBy.get(name)?.runs)
      .map(name => `package.json: dependency ${name} is imported nowhere in src or scripts`),
    ...Object.keys(devDependencies)
      .filter(name => !name.startsWith('@types/') && !importedBy.has(name) && !isUsedAsTool(name, text))
      .map(name => `package.json: devDependency ${name} is used nowhere`),
    ...[...importedBy.keys()].filter(name => !(name in declared) && !builtinModules.includes(name))
      .map(name => `${name} is imported but not in package.json`)
  ]
}

for (const file of ownFiles) visit(file, file)
if (!ownFiles.some(isSrc)) throw new Error('no file of src was read')
const problems = [...unusedExports(), ...packageProblems()]
for (const problem of problems) console.error(problem)
process.exitCode = problems.length === 0 ? 0 : 1
