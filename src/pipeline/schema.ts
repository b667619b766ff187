/**
 * The pipeline language: this schema validates files, types the code, and is emitted to schemas/pipeline.json for
 * editors. Every key has a description and an example; what must hold between keys is in check-*.ts.
 */
import Type, { type Static } from 'typebox';
import {
  Concurrency,
  Duration,
  Env,
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
import { Image, Script, stepDefaults, StepSchema } from './schema-step.ts';

const closed = { additionalProperties: false };
/** Job and service keys are parts of ids, host names and status contexts. */
const KEY_PATTERN = '^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$';
const KEY_EXPECTED = 'a key of letters, digits, `_` and `-`, at most 63';

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
      maxItems: 256,
      description: 'Cells (or values of cells) to add.',
      examples: [[{ node: 24, experimental: true }]],
    },
    exclude: {
      type: 'array',
      items: MatrixEntry,
      maxItems: 256,
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
      mapOf(text('an expression'), '^[A-Za-z_][A-Za-z0-9_-]*$', 'a name of letters, digits, `_` and `-`', {
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
