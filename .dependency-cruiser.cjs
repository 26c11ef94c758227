// Imports run one way: main → serve → app → http → status → cache, http → write → store, background → status and store;
// everything may know job and errors.
const parts = ['serve', 'app', 'config', 'job', 'views', 'store', 'cache', 'status', 'write', 'background', 'processors', 'http', 'ui', 'client', 'cli']
// Where a process, a thread, the page or what others import begins.
const entries =
  '^src/((main|ui/main|cli/main|client/client|http/page/strip-thread|processors/(threads/(sanitize-)?thread|[^/]+/run))\\.ts|start\\.mjs)$'
const leaves = ['config', 'errors.ts', 'metrics.ts', 'log-throttle.ts', 'node-http.ts', 'schedule.ts', 'schema-check.ts', 'turns.ts']

/** A part may import itself and what is named here. */
function only (part, allowed, comment) {
  const parts = [part, ...allowed.filter(name => !name.includes('.'))].map(name => `^src/${name}/`)
  const files = allowed.filter(name => name.includes('.')).map(name => `^src/${name.replace('.', '\\.')}$`)
  return {
    name: `${part}-imports`,
    comment,
    severity: 'error',
    from: { path: `^src/${part}/` },
    to: { path: '^src/', pathNot: [...parts, ...files] }
  }
}

function never (name, comment, from, to) {
  return { name, comment, severity: 'error', from, to }
}

module.exports = {
  forbidden: [
    never('no-cycle', 'Parts that need each other are one part.', { path: '^(src|scripts|bench)/' }, { circular: true }),
    never('no-orphan', 'Nothing imports this file.',
      { orphan: true, path: '^src/', pathNot: entries }, {}),
    never('unreached', 'Neither main.ts nor what an operator runs reaches this file, so it is dead (or is waiting to be wired).',
      { path: `${entries}|^scripts/(backup|restore|migrate|renew-incarnation)\\.ts$` },
      { reachable: false, path: '^src/', pathNot: entries }),
    never('unresolved', 'The import leads nowhere.', {}, { couldNotResolve: true }),
    never('no-dev-packages', 'The service runs without development packages.',
      { path: '^src/' }, { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] }),
    never('src-stands-alone', 'The service does not know its tests and tools.',
      { path: '^src/' }, { path: '^(test|scripts|bench)/' }),

    only('job', [], 'The domain imports nothing of ours.'),
    only('views', ['job', 'schema-check.ts'], 'A view is a function of the job.'),
    only('store', ['job', ...leaves], 'The record knows the domain only; it and the cache never meet.'),
    only('cache', ['job', ...leaves], 'The cache knows the domain only; it and the store never meet.'),
    only('status', ['job', 'views', 'cache', 'store', ...leaves], 'The protocol knows cache and store, and no HTTP.'),
    only('write', ['job', 'store', 'status', ...leaves], 'Commands write the record and expose it through commit.ts.'),
    only('background', ['job', 'status', 'store', 'write', 'processors', ...leaves], 'Loops stand beside http, not above it.'),
    only('processors', ['job', 'store', 'errors.ts', 'schedule.ts'], 'A processor can be run without the service.'),
    only('http', ['job', 'views', 'status', 'write', ...leaves], 'The edge reaches store and cache through status and write.'),

    only('ui', ['client'], 'The page does what any client can, in a browser.'),
    never('ui-stands-alone', 'The service serves the files of the page and imports none of them.',
      { path: '^src/', pathNot: '^src/ui/' }, { path: '^src/ui/' }),
    never('packages-of-the-page', 'The service rewrites the names of packages in the modules of the top folder.',
      { path: '^src/ui/', pathNot: '^src/ui/[^/]+\\.ts$' }, { path: 'node_modules/' }),
    only('client', [], 'It runs anywhere, and talks to the service over HTTP only.'),
    never('client-has-no-packages', 'It runs in browsers, and brings nothing with it.',
      { path: '^src/client/' }, { dependencyTypes: ['npm', 'core'] }),
    only('cli', ['client', 'main.ts'], 'The command line does what any client can; `serve` is the service itself.'),
    never('people-use-the-api', 'The service needs neither its client nor its command line.',
      { path: '^src/', pathNot: '^src/(client|cli|ui)/' }, { path: '^src/(client|cli)/' }),

    never('only-status-touches-the-cache', 'Another part that did could show an older version.',
      { path: '^src/', pathNot: '^src/(cache|status)/|^src/app(\\.ts$|/)' }, { path: '^src/cache/' }),
    never('status-knows-store-types-only', 'The store is given to it as a need.',
      { path: '^src/status/' }, { path: '^src/store/', dependencyTypesNot: ['type-only'] }),
    never('processors-know-store-types-only', 'A processor reads through its context; the entry of its thread opens the store.',
      { path: '^src/processors/', pathNot: '^src/processors/threads/thread\\.ts$' },
      { path: '^src/store/', dependencyTypesNot: ['type-only'] }),
    never('processors-run-in-threads', 'The event loop knows what a type needs, and never loads what runs it.',
      { path: '^src/' }, { path: '^src/processors/[^/]+/run\\.ts$' }),
    never('drivers-stay-in-their-store', 'A second database is added by a folder beside store/sqlite.',
      { path: '^src/', pathNot: '^src/store/sqlite/' }, { path: 'node_modules/(@types/)?better-sqlite3/' }),
    never('drivers-stay-in-their-store-too', 'Each database has its driver to itself.',
      { path: '^src/', pathNot: '^src/store/postgres/' }, { path: 'node_modules/(@types/)?pg/' }),
    never('no-sql-outside-the-store', 'Other databases stand behind the same contract.',
      { path: '^src/', pathNot: '^src/store/' }, { path: 'node_modules/kysely/' }),
    never('the-store-has-one-door', 'open/ chooses the database, and everything else gets a Store.',
      { path: '^src/', pathNot: '^src/store/(sqlite/|postgres/|open/)' }, { path: '^src/store/(sqlite|postgres)/' }),
    never('databases-do-not-meet', 'What both need stands beside them.',
      { path: '^src/store/sqlite/' }, { path: '^src/store/postgres/' }),
    never('databases-do-not-meet-either', 'What both need stands beside them.',
      { path: '^src/store/postgres/' }, { path: '^src/store/sqlite/' }),
    never('migrations-are-frozen', 'A migration keeps what it executes to itself: nothing may change it after a release.',
      { path: '^src/store/(sqlite|postgres)/migrations/\\d' },
      { path: '^src/', pathNot: '^src/store/(sqlite|postgres)/migrations/\\d', dependencyTypesNot: ['type-only'] }),
    never('only-commit-exposes', 'A command returns what it changed, and commit.ts exposes it: no command can forget to.',
      { path: '^src/write/', pathNot: '^src/write/commit\\.ts$' }, { path: '^src/status/' }),
    never('write-knows-status-types-only', 'expose() is given to it as a need.',
      { path: '^src/write/' }, { path: '^src/status/', dependencyTypesNot: ['type-only'] }),
    never('no-http-in-the-core', 'status and write know neither Fastify nor ioredis; nor does the domain.',
      { path: '^src/(job|views|status|write|store)/' }, { path: 'node_modules/(fastify|@fastify/[^/]+|ioredis)/' }),
    never('job-has-no-io', 'The domain is types and pure functions.',
      { path: '^src/job/' }, { dependencyTypes: ['core'] }),
    never('leaves', 'Everything imports these, so they import nothing of ours but the type of a timer.',
      { path: '^src/(errors|metrics|log-throttle|node-http|schedule|schema-check|turns)\\.ts$' },
      { path: '^src/', pathNot: '^src/schedule\\.ts$' }),
    never('config-imports', 'The configuration knows the rules of the domain, checks by schema, and errors.',
      { path: '^src/config/' }, { path: '^src/', pathNot: '^src/(job/|config/|(errors|schema-check)\\.ts$)' }),
    never('parts-are-listed', 'A new part needs its law above.',
      { path: '^src/' }, { path: '^src/[^/]+/', pathNot: `^src/(${parts.join('|')})/` }),
    never('clocks-are-needs', 'Only the composition root takes the clocks of the process: parts get them as needs.',
      { pathNot: '^src/app(\\.ts$|/)' }, { path: '^src/clocks\\.ts$' }),
    never('app-is-the-root', 'Only serve/ runs what app.ts puts together.',
      { path: '^src/', pathNot: '^src/serve/' }, { path: '^src/app\\.ts$' }),
    never('app-parts-are-of-the-root', 'The groups of parts in app/ are put together by app.ts.',
      { path: '^src/', pathNot: '^src/app(\\.ts$|/)' }, { path: '^src/app/' }),
    never('one-life-a-process', 'Only main.ts starts a service; only start.mjs, for npm start, and the command `serve` import it.',
      { path: '^src/', pathNot: '^src/(serve/|(main|cli/program)\\.ts$|start\\.mjs$)' },
      { path: '^src/(serve/|main\\.ts$)' })
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs', '.cjs', '.json', '.node'], exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] }
  }
}
