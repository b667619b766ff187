/** The small shapes that pipeline, job and step share. `$comment` is the end of the sentence "... must be". */
import Type, { type Static, type TSchema } from 'typebox';
import { EVENT_KINDS } from './event-kinds.ts';

export const NAME_PATTERN = '^[A-Za-z_][A-Za-z0-9_]*$';

export function text(expected: string, options: object = {}) {
  return Type.String({ minLength: 1, maxLength: 4096, ...options, $comment: expected });
}

export function oneOrMany<Item extends TSchema>(item: Item, expected: string, options: object = {}) {
  return Type.Union([item, Type.Array(item, { minItems: 1, maxItems: 256 })], { $comment: expected, ...options });
}

/** A map with free keys. `expected` is said of a key that does not fit the pattern. */
export function mapOf<Value extends TSchema>(value: Value, pattern: string, expected: string, options: object = {}) {
  return Type.Unsafe<Record<string, Static<Value>>>({
    type: 'object',
    propertyNames: { type: 'string', pattern, maxLength: 100, $comment: expected },
    additionalProperties: value,
    maxProperties: 500,
    ...options,
  });
}

/** Of a definition that stands once in the schema. */
export function refTo<Target extends TSchema>(name: string, _target: Target, options: object = {}) {
  return Type.Unsafe<Static<Target>>({ $ref: `#/definitions/${name}`, ...options });
}

const Scalar = Type.Union([Type.String({ maxLength: 65_536 }), Type.Number(), Type.Boolean()], {
  $comment: "text, a number, or true or false (write '' for empty text)",
});

export const Duration = text('a time such as 90s, 10m or 1h', { pattern: '^[1-9][0-9]{0,8}(ms|s|m|h|d)$' });
const SIZE_EXPECTED = 'a size such as 512m or 4g';
const Size = Type.Union(
  [
    text(SIZE_EXPECTED, { pattern: '^[1-9][0-9]{0,14}[kmgKMG]?$' }),
    Type.Integer({ minimum: 1, maximum: 1e15, $comment: SIZE_EXPECTED }),
  ],
  { $comment: SIZE_EXPECTED },
);
export const Glob = text('a pattern such as src/** or !docs/**', { maxLength: 257 });
const Globs = (example: unknown, description: string) =>
  Type.Optional(oneOrMany(Glob, 'a pattern or a list of patterns', { description, examples: [example] }));

export const Env = mapOf(Scalar, NAME_PATTERN, 'a name of letters, digits and `_` that does not start with a digit', {
  description: 'Environment variables.',
  examples: [{ CI_FLAVOUR: 'gem', PORT: 8080 }],
});

const EventName = Type.Enum([...EVENT_KINDS, ...EVENT_KINDS.map((kind) => `!${kind}` as const)], {
  $comment: `one of ${EVENT_KINDS.join(', ')}, or one of them after \`!\``,
});

const filters = {
  event: Type.Optional(
    oneOrMany(EventName, 'an event or a list of events', {
      description: 'What happened: push, tag, pull_request or manual; cron and api are not made by the server yet.',
      examples: [['push', 'pull_request']],
    }),
  ),
  branch: Globs(['main', 'release/*'], 'Branch that was pushed; for a pull request the branch it wants to change.'),
  tag: Globs('v*', 'Tag that was pushed.'),
  paths: Globs(
    ['src/**', '!docs/**'],
    'At least one changed file matches. Files come from git; where git cannot tell, every file counts as changed.',
  ),
  repository: Globs('octocat/*', 'Repository as owner/name or forge/owner/name.'),
  cron: Globs('nightly', 'Name of the cron entry; the server has no schedule yet.'),
  if: Type.Optional(
    text('an expression', {
      description: 'An expression that must be true.',
      examples: ["${{ event.author != 'renovate' }}"],
    }),
  ),
};

const Status = Type.Enum(['success', 'failure', 'always'], {
  $comment: 'success, failure or always',
  description: 'Run after success (the default), only after a failure, or either way.',
  examples: ['always'],
});

const MatrixFilter = Type.Optional(
  mapOf(oneOrMany(Scalar, 'a value or a list of values'), NAME_PATTERN, 'a name of letters, digits and `_`', {
    description: 'Only cells of the matrix with these values.',
    examples: [{ node: [20, 22] }],
  }),
);

const closed = { additionalProperties: false };
const PipelineCondition = Type.Object(filters, { ...closed, title: 'a `when`' });
const Condition = Type.Object(
  { ...filters, matrix: MatrixFilter, status: Type.Optional(Status) },
  { ...closed, title: 'a `when`' },
);

const whenText = 'When it runs: every filter must match; of a list of conditions any one. Lists mean any, `!` negates.';
export const PipelineWhen = oneOrMany(PipelineCondition, 'a map such as { event: push } or a list of such maps', {
  description: whenText,
  examples: [{ event: 'push', branch: 'main' }],
});
export const When = oneOrMany(Condition, 'a map such as { event: push } or a list of such maps', {
  description: whenText,
  examples: [{ event: 'push', branch: 'main' }, { status: 'failure' }],
});

export const Concurrency = Type.Union(
  [
    text('a group'),
    Type.Object(
      {
        group: text('a group', {
          description: 'Jobs of one group of a repository never run together.',
          examples: ['deploy'],
        }),
        mode: Type.Optional(
          Type.Enum(['cancel', 'queue', 'latest'], {
            $comment: 'cancel, queue or latest',
            description: 'cancel the older one, queue all (the default), or keep only the latest of those that wait.',
            examples: ['latest'],
          }),
        ),
        cancel: Type.Optional(
          Type.Boolean({ description: 'true: short for mode cancel; false: for mode queue.', examples: [true] }),
        ),
      },
      { ...closed, title: '`concurrency`' },
    ),
  ],
  {
    $comment: 'a group or { group, mode }',
    description: 'What must not run at the same time.',
    examples: ['deploy', { group: 'deploy-${{ event.branch }}', mode: 'cancel' }],
  },
);

export const Retry = Type.Union(
  [
    Type.Integer({ minimum: 0, maximum: 10 }),
    Type.Object(
      {
        count: Type.Integer({ minimum: 0, maximum: 10, description: 'Further tries, at most 10.', examples: [2] }),
        delay: Type.Optional({ ...Duration, description: 'Pause before each further try.', examples: ['10s'] }),
        'exit-codes': Type.Optional(
          Type.Array(Type.Integer({ minimum: 1, maximum: 255 }), {
            maxItems: 255,
            description: 'Only after these exit codes; an empty list: after none.',
            examples: [[137, 143]],
          }),
        ),
        infrastructure: Type.Optional(
          Type.Boolean({
            description: 'Also after errors that are ours, such as a lost engine. Default: true.',
            examples: [true],
          }),
        ),
      },
      { ...closed, title: '`retry`' },
    ),
  ],
  {
    $comment: 'a number from 0 to 10 or { count, delay, exit-codes, infrastructure }',
    description: 'Try again after a failure.',
    examples: [2, { count: 3, delay: '10s', 'exit-codes': [7] }],
  },
);

export const Limits = Type.Object(
  {
    memory: Type.Optional({
      ...Size,
      description: 'Memory in bytes, or with k, m, g; 6m at least.',
      examples: ['512m'],
    }),
    cpu: Type.Optional(
      Type.Number({ minimum: 0.01, maximum: 1024, description: 'Cores; may be a fraction.', examples: [1.5] }),
    ),
    pids: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 4_194_304, description: 'Processes and threads.', examples: [256] }),
    ),
  },
  {
    ...closed,
    title: '`limits`',
    description: 'Limits of the step, within those of the operator.',
    examples: [{ memory: '1g', cpu: 2 }],
  },
);

const Need = Type.Union(
  [
    text('a name'),
    Type.Object(
      {
        name: text('a name', { description: 'What is needed.', examples: ['build'] }),
        optional: Type.Optional(
          Type.Boolean({ description: 'true: waited for, but it may have been skipped.', examples: [true] }),
        ),
      },
      { ...closed, title: 'an entry of `needs`' },
    ),
  ],
  { $comment: 'a name or { name, optional }' },
);

/** May be empty: a step that needs nothing starts at once. */
export const Needs = Type.Union([Need, Type.Array(Need, { maxItems: 256 })], {
  $comment: 'a name, or a list of names and { name, optional }',
  description: 'What must end before.',
  examples: [['build', { name: 'lint', optional: true }]],
});

export const Secrets = oneOrMany(
  text('the name of a secret', { pattern: NAME_PATTERN, maxLength: 100 }),
  'the name of a secret or a list of names',
  { description: 'Secrets that become environment variables of the same name.', examples: [['DEPLOY_KEY']] },
);
