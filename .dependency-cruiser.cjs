// Data flows one way: a folder may import the folders in its list, itself, src/errors.ts and the plain types and pure
// functions of runs/ (event, plan, run, store). Everything else is an error.
const types =
  '^src/(errors|request|process-start|process-mark|free-room|config/(units|nearest))[.]ts$|^src/runs/(event|plan|run|store)[.]ts$';
const allowed = {
  config: [],
  executors: [],
  forges: [],
  git: ['forges'],
  logs: [],
  artifacts: [],
  secrets: [],
  pipeline: [],
  queue: [],
  runs: ['queue', 'pipeline'],
  statuses: ['forges', 'queue', 'runs'],
  worker: ['executors', 'pipeline', 'git', 'logs', 'artifacts'],
  intake: ['forges', 'git', 'pipeline', 'queue', 'runs', 'logs'],
  web: ['logs'],
  server: ['config', 'intake', 'forges', 'queue', 'runs', 'logs', 'artifacts', 'web', 'pipeline'],
};
const ports = '^src/(worker/ports|executors/executor)[.]ts$';
const folder = (name) => `^src/${name}/`;
const wrapper = (library, path) => ({
  name: `${library}-only-in-its-wrapper`,
  severity: 'error',
  from: { path: '^src/', pathNot: path },
  to: { path: `node_modules/${library}/` },
});

module.exports = {
  forbidden: [
    ...Object.entries(allowed).map(([name, list]) => ({
      name: `${name}-imports`,
      severity: 'error',
      from: { path: folder(name) },
      to: { path: '^src/', pathNot: [types, ports, ...[name, ...list].map(folder)].join('|') },
    })),
    { name: 'nothing-imports-cli', severity: 'error', from: { pathNot: '^src/cli/' }, to: { path: '^src/cli/' } },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    wrapper('simple-git', '^src/git/'),
    wrapper('dockerode', '^src/executors/docker/'),
    wrapper('bullmq', '^src/queue/'),
    wrapper('ioredis', '^src/queue/'),
    wrapper('@octokit/webhooks', '^src/forges/'),
    wrapper('express', '^src/server/'),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types', 'default'] },
  },
};
