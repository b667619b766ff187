/**
 * The pipeline language: this schema validates files, types the code, and is emitted to schemas/pipeline.json for
 * editors. Every key has a description and an example; what must hold between keys is in check-*.ts.
 */
import Type, { type Static } from 'typebox';
import {
  Concurrency,
  Duration,
  Env,
  Glob,
  Limits,
  mapOf,
  NAME_PATTERN,
  Needs,
  oneOrMany,
  PipelineWhen,
  refTo,
  Retry,
  Secrets,
  text,
  When,
} from './schema-parts.ts';

const closed = { additionalProperties: false };
/** Job and service keys are parts of ids, host names and status contexts. */
const KEY_PATTERN = '^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$';
const KEY_EXPECTED = 'a key of letters, digits, `_` and `-`, at most 63';

const Image = text('the name of an image', {
  description: 'Container image. May hold expressions of matrix and event.',
  examples: ['node:22-bookworm-slim', 'node:${{ matrix.node }}'],
});

const Artifact = Type.Object(
  {
    paths: oneOrMany(Glob, 'a pattern or a list of patterns', {
      description: 'Files relative to the workspace; `!` leaves out.',
      examples: [['dist/**', '!dist/**/*.map']],
    }),
    name: Type.Optional(text('a name', { maxLength: 100, description: 'Name of the group.', examples: ['site'] })),
    when: Type.Optional(
      Type.Enum(['success', 'failure', 'always'], {
        $comment: 'success, failure or always',
        description: 'After which end of the step they are kept. Default: success.',
        examples: ['always'],
      }),
    ),
    expire: Type.Optional({ ...Duration, description: 'When they may be removed.', examples: ['30d'] }),
  },
  { ...closed, title: '`artifacts`' },
);

const CachePath = text('a path in the workspace or under ~/', { maxLength: 1024 });
const Cache = Type.Object(
  {
    key: text('a key', {
      description: 'Exact name. A new one is kept when the step succeeded.',
      examples: ["npm-${{ hash('package-lock.json') }}"],
    }),
    'restore-keys': Type.Optional(
      oneOrMany(text('a key'), 'a key or a list of keys', {
        description: 'Beginnings of keys to take when there is no exact one; the newest wins.',
        examples: [['npm-']],
      }),
    ),
    paths: oneOrMany(CachePath, 'a path or a list of paths', {
      description: 'Folders and files, relative to the workspace or under ~/.',
      examples: [['~/.npm']],
    }),
  },
  { ...closed, title: '`cache`' },
);

const Script = Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })], {
  $comment: 'text or a list of texts',
  description: 'Script. A list is joined by line breaks. Takes no `${{ }}`: values come in as environment variables.',
  examples: ['npm test', ['npm ci', 'npm test']],
});

const stepDefaults = {
  shell: Type.Optional(
    Type.Enum(['bash', 'sh'], {
      $comment: 'bash or sh',
      description: 'bash (-eo pipefail, the default) or sh (-e).',
      examples: ['sh'],
    }),
  ),
  timeout: Type.Optional({ ...Duration, description: 'Time limit of one try.', examples: ['10m'] }),
  retry: Type.Optional(Retry),
  'working-directory': Type.Optional(
    text('a folder in the workspace', { description: 'Folder in the workspace.', examples: ['packages/api'] }),
  ),
  network: Type.Optional(
    Type.Enum(['default', 'none'], {
      $comment: 'default or none',
      description: 'none: no network but the loopback.',
      examples: ['none'],
    }),
  ),
  limits: Type.Optional(Limits),
};

export const StepSchema = Type.Object(
  {
    name: Type.Optional(
      text('a name of at most 100 characters', {
        maxLength: 100,
        pattern: '^[^\\u0000-\\u001f\\u007f]*$',
        description: 'Name, unique in the job. Default: step-1, step-2 and so on.',
        examples: ['test'],
      }),
    ),
    run: Script,
    image: Type.Optional(Image),
    env: Type.Optional(Env),
    secrets: Type.Optional(Secrets),
    when: Type.Optional(refTo('when', When, { description: 'When the step runs.', examples: [{ status: 'failure' }] })),
    ...stepDefaults,
    'allow-failure': Type.Optional(
      Type.Union([Type.Boolean(), Type.Array(Type.Integer({ minimum: 1, maximum: 255 }), { minItems: 1 })], {
        $comment: 'true, false or a list of exit codes',
        description: 'A failure (or only these exit codes) does not fail the job.',
        examples: [true, [2]],
      }),
    ),
    artifacts: Type.Optional(
      Type.Union(
        [
          Glob,
          Artifact,
          Type.Array(Type.Union([Glob, Artifact], { $comment: 'a pattern or { paths, name, when, expire }' }), {
            minItems: 1,
            maxItems: 256,
          }),
        ],
        {
          $comment: 'a pattern, { paths, name, when, expire }, or a list of these',
          description: 'Files to keep.',
          examples: [['coverage/**'], { paths: 'dist/**', expire: '30d' }],
        },
      ),
    ),
    cache: Type.Optional(
      Type.Union([Cache, Type.Array(Cache, { minItems: 1, maxItems: 20 })], {
        $comment: '{ key, paths } or a list of such maps',
        description: 'Folders kept between runs.',
        examples: [{ key: "npm-${{ hash('package-lock.json') }}", paths: ['~/.npm'] }],
      }),
    ),
    needs: Type.Optional(Needs),
    background: Type.Optional(
      Type.Boolean({ description: 'Goes on beside the steps after it; ended with the job.', examples: [true] }),
    ),
    docker: Type.Optional(
      Type.Boolean({ description: 'A private nested engine; trusted repositories only.', examples: [true] }),
    ),
  },
  { ...closed, title: 'a step' },
);
export type StepSource = Static<typeof StepSchema>;

const ServiceSchema = Type.Object(
  {
    image: Type.Optional(Image),
    run: Type.Optional({
      ...Script,
      description: 'Script instead of the command of the image.',
      examples: ['redis-server'],
    }),
    env: Type.Optional(Env),
    ready: Type.Optional(
      Type.Object(
        {
          port: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 65_535, description: 'TCP port that must answer.', examples: [6379] }),
          ),
          command: Type.Optional(
            text('a command', { description: 'Command that must end with 0.', examples: ['redis-cli ping'] }),
          ),
          timeout: Type.Optional({ ...Duration, description: 'How long to wait. Default: 60s.', examples: ['2m'] }),
        },
        {
          ...closed,
          title: '`ready`',
          description: 'What to wait for: a port or a command.',
          examples: [{ port: 6379 }],
        },
      ),
    ),
  },
  { ...closed, title: 'a service' },
);

const MatrixValue = Type.Union([Type.String({ maxLength: 200 }), Type.Number(), Type.Boolean()], {
  $comment: 'text, a number, or true or false',
});
const MatrixEntry = mapOf(MatrixValue, NAME_PATTERN, 'a name of letters, digits and `_`');
const Matrix = Type.Unsafe<
  Record<string, Static<typeof MatrixValue>[]> & { include?: MatrixCell[]; exclude?: MatrixCell[] }
>({
  type: 'object',
  properties: {
    include: {
      type: 'array',
      items: MatrixEntry,
      description: 'Cells (or values of cells) to add.',
      examples: [[{ node: 24, experimental: true }]],
    },
    exclude: {
      type: 'array',
      items: MatrixEntry,
      description: 'Cells to leave out.',
      examples: [[{ node: 20, os: 'alpine' }]],
    },
  },
  propertyNames: {
    type: 'string',
    pattern: NAME_PATTERN,
    maxLength: 100,
    $comment: 'a name of letters, digits and `_`',
  },
  additionalProperties: { type: 'array', items: MatrixValue, minItems: 1, $comment: 'a list of values' },
  minProperties: 1,
  maxProperties: 12,
  $comment: 'lists of values by name',
  description: 'The job once for each combination, at most 256.',
  examples: [{ node: [20, 22, 24] }],
});
export type MatrixCell = Record<string, string | number | boolean>;
export type MatrixSource = Static<typeof Matrix>;

const RunsOn = oneOrMany(text('a label', { maxLength: 100 }), 'a label or a list of labels', {
  description: 'Labels that a worker must have.',
  examples: [['linux', 'gpu']],
});

const jobDefaults = {
  timeout: Type.Optional({ ...Duration, description: 'Time limit of the whole job.', examples: ['30m'] }),
  retry: Type.Optional(Retry),
  'runs-on': Type.Optional(RunsOn),
};

const Steps = Type.Array(refTo('step', StepSchema), {
  minItems: 1,
  maxItems: 500,
  $comment: 'a list of steps',
  description: 'Steps, run in this order; when one of them has `needs`, that graph is the order.',
  examples: [[{ name: 'test', run: 'npm test' }]],
});

export const JobSchema = Type.Object(
  {
    needs: Type.Optional(Needs),
    when: Type.Optional(refTo('when', When, { description: 'When the job runs.', examples: [{ branch: 'main' }] })),
    matrix: Type.Optional(Matrix),
    image: Type.Optional(Image),
    env: Type.Optional(Env),
    services: Type.Optional(
      mapOf(ServiceSchema, KEY_PATTERN, KEY_EXPECTED, {
        description: 'Beside the steps, by name; started before the first step.',
        examples: [{ redis: { image: 'redis:7', ready: { port: 6379 } } }],
      }),
    ),
    secrets: Type.Optional(Secrets),
    ...jobDefaults,
    concurrency: Type.Optional(Concurrency),
    outputs: Type.Optional(
      mapOf(text('an expression'), NAME_PATTERN, 'a name of letters, digits and `_`', {
        description: 'Values for jobs that need this one.',
        examples: [{ version: '${{ steps.build.outputs.version }}' }],
      }),
    ),
    'allow-failure': Type.Optional(Type.Boolean({ description: 'A failure does not fail the run.', examples: [true] })),
    steps: Steps,
  },
  { ...closed, title: 'a job' },
);
export type JobSource = Static<typeof JobSchema>;

const Clone = Type.Object(
  {
    depth: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000_000,
        description: 'Commits of history; 0 (the default) is all.',
        examples: [1],
      }),
    ),
    submodules: Type.Optional(Type.Boolean({ description: 'Fetch submodules. Default: false.', examples: [true] })),
    lfs: Type.Optional(Type.Boolean({ description: 'Fetch Git LFS files. Default: false.', examples: [true] })),
    skip: Type.Optional(Type.Boolean({ description: 'true: the workspace starts empty.', examples: [true] })),
  },
  {
    ...closed,
    title: '`clone`',
    description: 'How the commit gets into the workspace.',
    examples: [{ depth: 1, submodules: true }],
  },
);

export const PipelineSchema = Type.Object(
  {
    name: Type.Optional(
      text('a name of letters, digits, `.`, `_`, `-` and spaces, at most 60', {
        maxLength: 60,
        pattern: '^[A-Za-z0-9_][A-Za-z0-9 ._-]*$',
        description: 'Name of the pipeline; part of the status context when there are several.',
        examples: ['nightly'],
      }),
    ),
    include: Type.Optional(
      oneOrMany(text('a path in the repository', { maxLength: 500 }), 'a path or a list of paths', {
        description: 'Files of this repository whose keys are added where this file has none.',
        examples: ['ci/common.yml'],
      }),
    ),
    image: Type.Optional(Image),
    env: Type.Optional(Env),
    when: Type.Optional(PipelineWhen),
    defaults: Type.Optional(
      Type.Object(
        {
          job: Type.Optional(
            Type.Object(jobDefaults, {
              ...closed,
              title: '`defaults.job`',
              description: 'For every job.',
              examples: [{ timeout: '30m' }],
            }),
          ),
          step: Type.Optional(
            Type.Object(stepDefaults, {
              ...closed,
              title: '`defaults.step`',
              description: 'For every step.',
              examples: [{ shell: 'sh' }],
            }),
          ),
        },
        {
          ...closed,
          title: '`defaults`',
          description: 'What jobs and steps have that say nothing else.',
          examples: [{ step: { timeout: '10m' } }],
        },
      ),
    ),
    concurrency: Type.Optional(Concurrency),
    clone: Type.Optional(Clone),
    jobs: Type.Optional(
      mapOf(refTo('job', JobSchema), KEY_PATTERN, KEY_EXPECTED, {
        minProperties: 1,
        description: 'Jobs by key. They run at the same time unless `needs` says otherwise.',
        examples: [{ test: { steps: [{ run: 'npm test' }] } }],
      }),
    ),
    steps: Type.Optional(Steps),
  },
  {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'urn:impgem:schema:pipeline:1',
    title: 'a pipeline',
    description: 'Pipeline of Imp Gem: .impgem.yml, or a file of .impgem/.',
    ...closed,
    patternProperties: { '^x-': { description: 'Anything: a place for anchors (templates).' } },
    definitions: { step: StepSchema, job: JobSchema, when: When },
  },
);
export type PipelineSource = Static<typeof PipelineSchema>;
