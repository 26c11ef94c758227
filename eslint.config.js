import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'
import tseslint from 'typescript-eslint'

const noDefaultExport = {
  selector: 'ExportDefaultDeclaration, ExportSpecifier[exported.name="default"]',
  message: 'Export by name: an import then says the same word as the file it comes from.'
}
const processEnv = {
  selector: 'MemberExpression[object.name="process"]:matches([property.name="env"], [property.value="env"]), ' +
    'VariableDeclarator[init.name="process"] > ObjectPattern > Property[key.name="env"]',
  message: 'Only src/config/config.ts reads the environment; take a value from the configuration.'
}
const processImport = {
  selector: 'ImportDeclaration[source.value=/^(node:)?process$/]',
  message: 'Use the global process, which the other rules watch.'
}

const clockAndChance = {
  selector: 'MemberExpression[object.name="performance"][property.name="now"], ' +
    'MemberExpression[object.name="Date"][property.name="now"], MemberExpression[object.name="Math"][property.name="random"], ' +
    'NewExpression[callee.name="Date"][arguments.length=0]',
  message: 'Take the clock or the random source as a need: a test that cannot set it depends on the speed of the machine.'
}

export default [
  { ignores: resolveIgnoresFromGitignore() },
  // Made from the OpenAPI document.
  { ignores: ['src/client/openapi.ts'] },
  ...neostandard({ ts: true, noJsx: true }),
  ...tseslint.configs.recommendedTypeChecked.map(config => ({ ...config, files: ['**/*.ts'] })),
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // `import { type … }` loads the module all the same.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Fastify's hooks and route handlers are asynchronous by contract, also where one awaits nothing.
      '@typescript-eslint/require-await': 'off',
      // Parts are closures made by createX(), none of their methods knows `this`.
      '@typescript-eslint/unbound-method': 'off',
      // A schema and the type read from it share a name on purpose; the compiler reports what is declared twice.
      '@typescript-eslint/no-redeclare': 'off',
      '@typescript-eslint/only-throw-error': ['error', { allowRethrowing: true, allowThrowingUnknown: true }],
      'no-void': ['error', { allowAsStatement: true }],
      // It does not see what a closure changes while the loop awaits.
      'no-unmodified-loop-condition': 'off'
    }
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'max-lines': ['error', { max: 250, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true, IIFEs: true }],
      'no-restricted-syntax': ['error', noDefaultExport, processEnv, processImport, clockAndChance]
    }
  },
  {
    // A transaction begins in commit.ts alone, which then exposes what it changed.
    files: ['src/write/**/*.ts'],
    ignores: ['src/write/commit.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', {
        patterns: [{ group: ['**/store/**'], importNames: ['Transact'], message: 'A command needs `commit`, which exposes what the transaction changed.' }]
      }]
    }
  },
  {
    files: ['src/config/config.ts'],
    rules: { 'no-restricted-syntax': ['error', noDefaultExport, clockAndChance] }
  },
  {
    // A process, a processor's thread, the page and the client begin here: they give the parts their clock and their
    // random source.
    files: [
      'src/app.ts', 'src/app/*.ts', 'src/clocks.ts', 'src/processors/threads/thread.ts', 'src/ui/main.ts',
      'src/client/platform.ts'
    ],
    rules: { 'no-restricted-syntax': ['error', noDefaultExport, processEnv, processImport] }
  },
  {
    // A program of its own.
    files: ['src/cli/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', noDefaultExport, processImport] }
  },
  {
    // Control and combining characters are what these files are about; as escapes they can be read.
    files: ['src/processors/sanitize/**/*.ts', 'test/processors/sanitize/**/*.test.ts'],
    rules: {
      'no-control-regex': 'off',
      'no-misleading-character-class': ['error', { allowEscape: true }]
    }
  },
  {
    files: ['test/**/*.ts', 'bench/test/**/*.ts', 'examples/**/*.test.ts'],
    rules: {
      // Tests look into parsed JSON, whose shape is what they are about.
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      // tap's t.test() returns a promise that tap itself waits for.
      '@typescript-eslint/no-floating-promises': ['error', {
        allowForKnownSafeCalls: [
          { from: 'package', name: 'test', package: '@tapjs/test' },
          { from: 'package', name: 'test', package: '@tapjs/core' },
          { from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' }
        ]
      }]
    }
  },
  {
    // Their packages are installed when the bench or the check asks for them, so without these there are no types to look
    // at.
    ...tseslint.configs.disableTypeChecked,
    files: ['bench/peers/**/*.ts', 'test/clients/**/*.ts', 'examples/bullmq/**/*.ts']
  }
]
