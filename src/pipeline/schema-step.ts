/** What a step may say, and what services and pipelines share with it. */
import Type, { type Static } from 'typebox';
import { Duration, Env, Glob, Limits, Needs, oneOrMany, refTo, Retry, Secrets, text, When } from './schema-parts.ts';

const closed = { additionalProperties: false };

export const Image = text('the name of an image', {
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

const ScriptText = Type.String({ minLength: 1, maxLength: 262_144, $comment: 'text' });
export const Script = Type.Union([ScriptText, Type.Array(ScriptText, { minItems: 1, maxItems: 256 })], {
  $comment: 'text or a list of texts',
  description: 'Script. A list is joined by line breaks. Takes no `${{ }}`: values come in as environment variables.',
  examples: ['npm test', ['npm ci', 'npm test']],
});

export const stepDefaults = {
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
      Type.Boolean({
        description: "A Docker engine of the job's own; docker executor and trusted repositories only.",
        examples: [true],
      }),
    ),
  },
  { ...closed, title: 'a step' },
);
export type StepSource = Static<typeof StepSchema>;
