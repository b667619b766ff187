import fc from 'fast-check';
import type { JobSource, PipelineSource } from '../../src/pipeline/schema.ts';
import type { StepSource } from '../../src/pipeline/schema-step.ts';

const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const variable = fc.constantFrom('A', 'B_1', '_c', 'constructor', 'toString');
/** Anything that can be written down, without the start of an expression. */
const text = fc
  .string({ unit: 'grapheme', maxLength: 20 })
  .filter((one) => !one.includes('${{') && !/[\u0000\uFEFF]/.test(one));
const scalar = fc.oneof(
  text,
  fc.integer(),
  fc.boolean(),
  fc.constantFrom(
    '3.10',
    'yes',
    'null',
    '~',
    '0x1',
    '1e3',
    '- a',
    ': ',
    '#x',
    '!t',
    '*a',
    '&a',
    '${{ matrix.node }}',
    'a${{ event.message }}b',
  ),
);
const env = fc.dictionary(variable, scalar, { maxKeys: 4 });
const duration = fc.constantFrom('1s', '10m', '500ms', '2h');
const globs = fc.oneof(
  fc.constantFrom('src/**', '!docs/**', '*'),
  fc.array(fc.constantFrom('main', 'release/*', '!old', '**/*.ts'), { minLength: 1, maxLength: 3 }),
);
const status = fc.constantFrom('success' as const, 'failure' as const, 'always' as const);
const when = fc.record(
  {
    event: fc.array(fc.constantFrom('push' as const, 'tag' as const, '!cron' as const), { minLength: 1, maxLength: 2 }),
    branch: globs,
    paths: globs,
    status,
    if: fc.constantFrom('true', "event.branch == 'main'", '${{ always() }}', "needs == ''"),
  },
  { requiredKeys: [] },
);
const whens = fc.oneof(when, fc.array(when, { minLength: 1, maxLength: 3 }));
const retry = fc.oneof(
  fc.nat(10),
  fc.record(
    {
      count: fc.nat(10),
      delay: duration,
      'exit-codes': fc.array(fc.integer({ min: 1, max: 255 }), { maxLength: 3 }),
      infrastructure: fc.boolean(),
    },
    { requiredKeys: ['count'] },
  ),
);
const artifact = fc.record(
  { paths: fc.constantFrom('dist/**', ['a', '!b']), name: fc.constant('site'), when: status, expire: duration },
  { requiredKeys: ['paths'] },
);
const script = text.filter((one) => one.trim() !== '');

const step: fc.Arbitrary<StepSource> = compactRecord({
  run: fc.oneof(script, fc.array(script, { minLength: 1, maxLength: 3 })),
  env: optional(env),
  image: optional(fc.constantFrom('node:22', 'alpine')),
  when: optional(whens),
  timeout: optional(duration),
  retry: optional(retry),
  shell: optional(fc.constantFrom('bash' as const, 'sh' as const)),
  secrets: optional(fc.constantFrom('KEY', ['KEY', 'OTHER'])),
  artifacts: optional(
    fc.oneof(
      fc.constant('a/**'),
      artifact,
      fc.array(fc.oneof(fc.constant('b'), artifact), { minLength: 1, maxLength: 3 }),
    ),
  ),
  cache: optional(fc.constant({ key: "k-${{ hash('x') }}", paths: ['~/.npm'] })),
  limits: optional(
    fc.record(
      {
        memory: fc.constantFrom('1g', '536870912'),
        cpu: fc.constantFrom(1, 0.5),
        pids: fc.integer({ min: 1, max: 99 }),
      },
      { requiredKeys: [] },
    ),
  ),
  background: optional(fc.boolean()),
  'allow-failure': optional(fc.oneof(fc.boolean(), fc.constant([1, 2]))),
});

const job: fc.Arbitrary<JobSource> = compactRecord({
  matrix: optional(
    fc.record(
      {
        node: fc.uniqueArray(fc.oneof(fc.integer(), fc.constantFrom('3.10', 'a b', 'a-b', 'é', '1.0', '1-0')), {
          minLength: 1,
          maxLength: 4,
        }),
        include: fc.array(fc.record({ node: fc.nat(3), x: fc.boolean() }), { maxLength: 2 }),
      },
      { requiredKeys: ['node'] },
    ),
  ),
  steps: fc.array(step, { minLength: 1, maxLength: 3 }),
  env: optional(env),
  when: optional(whens),
  timeout: optional(duration),
  retry: optional(retry),
  outputs: optional(fc.dictionary(variable, fc.constantFrom('x', '${{ event.sha }}'), { maxKeys: 2 })),
  'runs-on': optional(fc.constantFrom('linux', ['linux', 'gpu'])),
  concurrency: optional(fc.constantFrom('g', { group: 'g-${{ event.branch }}', mode: 'latest' as const })),
});

/** Valid pipelines: jobs need jobs before them; what reads a matrix has one. */
export function pipelineSources(): fc.Arbitrary<PipelineSource> {
  return compactRecord<PipelineSource>({
    name: optional(fc.constantFrom('nightly', 'a b')),
    image: optional(fc.constantFrom('debian:bookworm-slim', 'alpine')),
    env: optional(env),
    clone: optional(fc.record({ depth: fc.nat(5), lfs: fc.boolean() }, { requiredKeys: [] })),
    defaults: optional(fc.constant({ job: { timeout: '5m' }, step: { shell: 'sh' as const, limits: { cpu: 1 } } })),
    jobs: fc
      .array(job, { minLength: 1, maxLength: 5 })
      .chain((jobs) =>
        fc.array(fc.nat(4), { minLength: jobs.length, maxLength: jobs.length }).map((picks) => connect(jobs, picks)),
      ),
  }).map(({ jobs, ...rest }) => (jobs === undefined ? rest : { ...rest, jobs }));
}

function connect(jobs: readonly JobSource[], picks: readonly number[]): Record<string, JobSource> {
  const keys = jobs.map((_, index) => ['build', 'test-1', 'Lint', '0', 'test-1-0'][index] ?? 'x');
  return Object.fromEntries(
    jobs.map((one, index) => {
      const pick = picks[index] ?? 0;
      const needs =
        pick < index
          ? { needs: [keys[pick] ?? '', ...(pick === 0 && index > 1 ? [{ name: keys[1] ?? '', optional: true }] : [])] }
          : {};
      return [keys[index] ?? '', withoutForeignReads({ ...one, ...needs })];
    }),
  );
}

/** A job without a matrix reads none. */
function withoutForeignReads(one: JobSource): JobSource {
  if (one.matrix !== undefined) return one;
  return JSON.parse(JSON.stringify(one).replaceAll('matrix.node', 'event.author')) as JobSource;
}

/** A record whose undefined values are not there. */
function compactRecord<T extends object>(shape: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<T> {
  return fc
    .record(shape)
    .map((value) => Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T);
}
