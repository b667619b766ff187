/** Every setting, once: this schema validates the environment, types the code and writes the table in the README. */
import Type, { type Static } from 'typebox';

const secret = { secret: true };
// `form` beside a pattern is what a person is told of it.

export const SettingsSchema = Type.Object(
  {
    IMPGEM_DATA: Type.String({
      default: '.impgem',
      minLength: 1,
      description: 'Data folder: logs, artifacts, caches, mirrors, the embedded Redis.',
    }),
    IMPGEM_LISTEN: Type.String({
      default: '127.0.0.1:8000',
      pattern: '^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$',
      form: 'an address and a port, such as 127.0.0.1:8000',
      description: 'Address and port of the HTTP server; port 0 takes a free one.',
    }),
    IMPGEM_PUBLIC_URL: Type.Optional(
      Type.String({
        pattern: '^https?://[^\\s/]+(/[^\\s?#]*)?$',
        form: 'an address that begins with https:// or http:// and has no query',
        description: 'Address people reach the server at; stands in commit statuses. Default: the address listened on.',
      }),
    ),
    REDIS_URL: Type.Optional(
      Type.String({
        pattern: '^(rediss?|unix)://',
        form: 'an address that begins with redis://, rediss:// or unix://',
        description: 'Redis 6.2 or newer, append-only, noeviction. Unset: `impgem up` starts a private one.',
      }),
    ),
    IMPGEM_API_TOKEN: Type.Optional(
      Type.String({
        ...secret,
        minLength: 16,
        description: 'Bearer token for writes over HTTP. `impgem up` makes one on first start.',
      }),
    ),
    IMPGEM_WEBHOOK_SECRET: Type.Optional(
      Type.String({
        ...secret,
        minLength: 8,
        description: 'Secret that the forge signs deliveries with. `impgem up` makes one on first start.',
      }),
    ),
    IMPGEM_GITHUB_URL: Type.String({
      default: 'https://github.com',
      pattern: '^(https?|ssh|file)://',
      form: 'an address that begins with https://, http://, ssh:// or file://',
      description: 'Where GitHub repositories are cloned from (`file://` only with IMPGEM_ALLOW_FILE).',
    }),
    IMPGEM_GITHUB_API_URL: Type.String({
      default: 'https://api.github.com',
      pattern: '^https?://',
      form: 'an address that begins with https:// or http://',
      description: 'GitHub API.',
    }),
    IMPGEM_GITHUB_TOKEN: Type.Optional(
      Type.String({ ...secret, minLength: 1, description: 'Token for statuses and private repositories on GitHub.' }),
    ),
    IMPGEM_GITEA_URL: Type.Optional(
      Type.String({
        pattern: '^(https?|ssh|file)://',
        form: 'an address that begins with https://, http://, ssh:// or file://',
        description: 'Address of Gitea or Forgejo. Needed for its webhooks.',
      }),
    ),
    IMPGEM_GITEA_API_URL: Type.Optional(
      Type.String({
        pattern: '^https?://',
        form: 'an address that begins with https:// or http://',
        description: 'API address of Gitea. Default: IMPGEM_GITEA_URL + `/api/v1`.',
      }),
    ),
    IMPGEM_GITEA_TOKEN: Type.Optional(
      Type.String({ ...secret, minLength: 1, description: 'Token for statuses and private repositories on Gitea.' }),
    ),
    IMPGEM_ALLOW_REPOSITORIES: Type.Optional(
      Type.String({
        description:
          'Globs of `forge/owner/name`, comma-separated; only these may run. Unset: every repository that sends a signed delivery.',
      }),
    ),
    IMPGEM_TRUSTED_REPOSITORIES: Type.Optional(
      Type.String({
        description:
          'Globs of `forge/owner/name`, comma-separated: repositories whose steps may use `docker: true`. Unset: none. Who may push there owns the machine of the engine.',
      }),
    ),
    IMPGEM_NESTED_ENGINE_IMAGE: Type.String({
      default: 'docker:dind',
      description: 'Image of the engine that a job with `docker: true` gets. Has dockerd and docker.',
    }),
    IMPGEM_NESTED_ENGINE_OPTIONS: Type.String({
      default: '--privileged',
      description:
        'Rights of its container, as options of `docker run`: --privileged, --cap-add, --cap-drop, --security-opt, --volume, --device, --runtime.',
    }),
    IMPGEM_ALLOW_FILE: Type.Boolean({ default: false, description: 'Allow `file://` forge addresses (demo, tests).' }),
    IMPGEM_STATUS_PREFIX: Type.String({
      default: 'impgem',
      pattern: '^[A-Za-z0-9_.-]{1,40}$',
      form: '1 to 40 letters, digits, dots, dashes and underscores',
      description: 'First part of the commit status context.',
    }),
    IMPGEM_EXECUTOR: Type.Union([Type.Literal('auto'), Type.Literal('docker'), Type.Literal('sandbox')], {
      default: 'auto',
      description: '`auto`: docker if DOCKER_HOST is set or an engine answers at its usual socket, else sandbox.',
    }),
    IMPGEM_IMAGE: Type.String({ default: 'debian:bookworm-slim', description: 'Image of a step that names none.' }),
    IMPGEM_CONCURRENCY: Type.Integer({
      default: 2,
      minimum: 1,
      maximum: 256,
      description: 'Jobs that one worker runs at the same time.',
    }),
    IMPGEM_WORKER_NAME: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9_.-]{1,64}$',
        form: '1 to 64 letters, digits, dots, dashes and underscores',
        description: 'Name of the worker. Default: the host name.',
      }),
    ),
    IMPGEM_WORKER_LABELS: Type.Optional(
      Type.String({ description: 'Labels of the worker for `runs-on`, comma-separated.' }),
    ),
    IMPGEM_SERVER_URL: Type.Optional(
      Type.String({
        pattern: '^https?://',
        form: 'an address that begins with https:// or http://',
        description: 'Where a worker sends logs and artifacts when it does not share the data folder with the server.',
      }),
    ),
    IMPGEM_RUN_AS: Type.Optional(
      Type.String({
        pattern: '^[0-9]+(:[0-9]+)?$',
        form: 'a numeric user id, or user and group, such as 1000:1000',
        description: 'User id (and group) of steps in containers. Default: the user of the image.',
      }),
    ),
    IMPGEM_STEP_MEMORY: Type.String({
      default: '4g',
      pattern: '^[0-9]+[kmgKMG]?$',
      form: 'a size such as 512m or 4g',
      description: 'Memory limit of a step.',
    }),
    IMPGEM_STEP_CPU: Type.Number({ default: 2, exclusiveMinimum: 0, description: 'CPU limit of a step, in cores.' }),
    IMPGEM_STEP_PIDS: Type.Integer({ default: 2048, minimum: 16, description: 'Process limit of a step.' }),
    IMPGEM_LOG_LIMIT: Type.String({
      default: '4g',
      pattern: '^[0-9]+[kmgKMG]?$',
      form: 'a size such as 512m or 4g',
      description: 'Bytes of log of a step; past it the step fails.',
    }),
    IMPGEM_JOB_DISK: Type.String({
      default: '20g',
      pattern: '^[0-9]+[kmgKMG]?$',
      form: 'a size such as 512m or 4g',
      description:
        'Bytes that a job may take on the disk: its files, and what its containers write elsewhere. Past it the job fails. 0: any.',
    }),
    IMPGEM_JOB_TIMEOUT: Type.String({
      default: '1h',
      pattern: '^[0-9]+(ms|s|m|h|d)$',
      form: 'a duration such as 90s, 10m or 1h',
      description: 'Time limit of a job that names none.',
    }),
    IMPGEM_MIN_FREE_DISK: Type.String({
      default: '200m',
      pattern: '^[0-9]+[kmgKMG]?$',
      form: 'a size such as 512m or 4g',
      description: 'A worker with less free disk than this, or fewer than 5000 free inodes, takes no job.',
    }),
    IMPGEM_MAX_LOSSES: Type.Integer({
      default: 3,
      minimum: 1,
      maximum: 1000,
      description: 'How often a job may lose its worker before it ends with an error.',
    }),
    IMPGEM_DRAIN_TIMEOUT: Type.String({
      default: '10s',
      pattern: '^[0-9]+(ms|s|m|h|d)$',
      form: 'a duration such as 90s, 10m or 1h',
      description: 'How long a worker that is told to stop lets jobs finish which no other worker could carry on.',
    }),
    IMPGEM_FETCH_TIMEOUT: Type.String({
      default: '2m',
      pattern: '^[0-9]+(ms|s|m|h|d)$',
      form: 'a duration such as 90s, 10m or 1h',
      description: 'Time limit of a git fetch.',
    }),
    IMPGEM_CLONE_LIMIT: Type.String({
      default: '20g',
      pattern: '^[0-9]+[kmgKMG]?$',
      form: 'a size such as 500m or 20g',
      description:
        'Most bytes that one fetch may bring, that the files of a commit may have, and that come back from an engine with a disk of its own.',
    }),
    IMPGEM_CLONE_FILES: Type.Integer({
      default: 1_000_000,
      minimum: 1,
      description: 'Most files that a commit may have.',
    }),
    IMPGEM_PULL_POLICY: Type.Union([Type.Literal('missing'), Type.Literal('always')], {
      default: 'missing',
      description:
        'When images are pulled. With `always`, nothing is kept warm of an image that is named by its tag alone.',
    }),
    IMPGEM_WARM_SLOTS: Type.Integer({
      default: 2,
      minimum: 0,
      maximum: 32,
      description:
        'Jobs whose network and first containers a docker worker keeps ready, of the images of its last jobs, so that a push does not wait for them; one network more is kept for a job of another image.',
    }),
    IMPGEM_BLOCKED_NETWORKS: Type.Optional(
      Type.String({
        pattern: String.raw`^\s*[0-9a-fA-F.:]+/\d{1,3}\s*(,\s*[0-9a-fA-F.:]+/\d{1,3}\s*)*$`,
        form: 'a list of networks such as 10.0.0.0/8',
        description:
          'Networks that steps in containers may not reach, comma-separated (`10.0.0.0/8`), besides the host of the engine and link-local addresses.',
      }),
    ),
    IMPGEM_SANDBOX_MOUNTS: Type.Optional(
      Type.String({ description: 'More host folders that sandbox steps may read, comma-separated.' }),
    ),
    IMPGEM_SANDBOX_NETWORK: Type.Union([Type.Literal('auto'), Type.Literal('private'), Type.Literal('host')], {
      default: 'auto',
      description:
        "Network of sandbox steps: `private` gives each job its own, without the host's loopback (needs slirp4netns), `host` is the host's, `auto` is private where that works.",
    }),
    IMPGEM_CATCH_UP: Type.String({
      default: '5m',
      pattern: '^(off|[0-9]+(ms|s|m|h|d))$',
      form: 'a duration such as 5m, or off',
      description:
        'How often known repositories are asked for pushes whose delivery never came; `off` switches it off.',
    }),
    IMPGEM_KEEP_RUNS: Type.Integer({
      default: 1000,
      minimum: 10,
      description: 'Finished runs kept in Redis; older ones are read from the archive.',
    }),
    IMPGEM_MAX_RUNS: Type.Integer({
      default: 200_000,
      minimum: 100,
      description: 'Finished runs kept at all; beyond it the oldest are removed with their logs and artifacts.',
    }),
    IMPGEM_DELETE_AFTER: Type.String({
      default: 'off',
      pattern: '^(off|[0-9]+(ms|s|m|h|d))$',
      form: 'a duration such as 5m, or off',
      description:
        'Finished runs are removed with their logs and artifacts when they ended this long ago, at least `1d`; `off`: never by age.',
    }),
    IMPGEM_METRICS_TOKEN: Type.Optional(
      Type.String({ ...secret, minLength: 8, description: 'Bearer token for /metrics; unset: the API token.' }),
    ),
    IMPGEM_LOG_LEVEL: Type.Union(
      [Type.Literal('debug'), Type.Literal('info'), Type.Literal('warn'), Type.Literal('error')],
      { default: 'info', description: 'Level of our own log.' },
    ),
    DOCKER_HOST: Type.Optional(
      Type.String({
        pattern: '^(unix|tcp|http|https)://',
        form: 'an address that begins with unix://, tcp://, http:// or https://',
        description: 'Engine. Default: unix:///var/run/docker.sock.',
      }),
    ),
    DOCKER_TLS_VERIFY: Type.Optional(Type.String({ description: 'Non-empty: TLS with client certificate.' })),
    DOCKER_CERT_PATH: Type.Optional(Type.String({ description: 'Folder of ca.pem, cert.pem, key.pem.' })),
    DOCKER_AUTH_CONFIG: Type.Optional(
      Type.String({ ...secret, description: 'Registry credentials, in the format of ~/.docker/config.json.' }),
    ),
  },
  { $id: 'https://impgem.dev/schemas/settings.json', title: 'Imp Gem settings' },
);

export type Settings = Static<typeof SettingsSchema>;
