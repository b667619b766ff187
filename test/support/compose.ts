/** The topology of docker-compose.yml on this machine's engine, from images made here, with a forge beside it. */
import { execa } from 'execa';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { FakeForge } from './fake-forge.ts';
import { BASE_IMAGE, startDockerEngine } from './docker-engine.ts';
import { makeRepository, type TestRepository } from './git-http.ts';
import { poll } from './product.ts';

export type ComposeService = 'server' | 'worker' | 'redis' | 'docker' | 'forge' | 'distant';

export interface ComposeProject {
  /** Of the server, as published. */
  url: string;
  /** Finds the server's address again: a port that the engine chose changes with a restart. */
  locate(): Promise<void>;
  /** `docker-compose ARGS` of this project. */
  compose(...args: string[]): Promise<string>;
  /** `docker ARGS` on the engine of this machine. */
  docker(...args: string[]): Promise<string>;
  /** Runs a command in a service's container; gives its exit code and output, whatever they are. */
  exec(service: ComposeService, ...command: string[]): Promise<{ exitCode: number | undefined; all: string }>;
  /** Id of a service's container. */
  idOf(service: ComposeService): Promise<string>;
  repository(name: string): Promise<TestRepository>;
  /** Statuses that the forge was told, in order. */
  posts(): Promise<FakeForge['posts']>;
  /** Kills what a container runs, as a crash would; settles when its restart policy has brought it back, healthy. */
  crash(service: ComposeService): Promise<void>;
  down(): Promise<void>;
}

const FIXTURES = 'test/fixtures/compose';

/** `settings`: lines of the .env, in the place of those of .env.example. All services are up and well when it returns. */
export async function startCompose(
  settings: Record<string, string>,
  overrides: string[] = [],
): Promise<ComposeProject> {
  await startDockerEngine();
  await execa('.ci/compose-images.sh', { stdin: 'ignore' });
  const folder = await mkdtemp(join(await realpath(tmpdir()), 'impgem-compose-'));
  await mkdir(join(folder, 'git'));
  await writeFile(join(folder, '.env'), fillIn(await readFile('.env.example', 'utf8'), settings));
  const project = `impgem-test-${randomBytes(4).toString('hex')}`;
  const files = ['docker-compose.yml', `${FIXTURES}/override.yml`, ...overrides.map((name) => `${FIXTURES}/${name}`)];
  const network = `10.211.${randomInt(256)}`;
  const env = {
    // A free port of loopback, where people publish 8000.
    HTTP_PORT: '127.0.0.1:',
    TEST_CHECKOUT: resolve('.'),
    TEST_NET: network,
    ENGINE_NETWORK: `${network}.128/26`,
    TEST_GIT: join(folder, 'git'),
    TEST_USER: String(process.getuid?.() ?? 0),
    // Compose would hand a build to a plug-in that is not everywhere.
    DOCKER_BUILDKIT: '0',
    COMPOSE_DOCKER_CLI_BUILD: '0',
  };
  const run = async (file: string, args: string[]): Promise<string> =>
    (await execa(file, args, { env, stdin: 'ignore' })).stdout;
  const common = ['-p', project, '--project-directory', folder, ...files.flatMap((file) => ['-f', resolve(file)])];
  const compose = (...args: string[]): Promise<string> => run('docker-compose', [...common, ...args]);
  const docker = (...args: string[]): Promise<string> => run('docker', args);
  const ids = new Map<ComposeService, Promise<string>>();
  const idOf = (service: ComposeService): Promise<string> => {
    const id = ids.get(service) ?? compose('ps', '-q', service);
    ids.set(service, id);
    return id;
  };

  const opened: ComposeProject = {
    url: '',
    compose,
    docker,
    idOf,
    exec: async (service, ...command) => {
      const args = ['exec', await idOf(service), ...command];
      const { exitCode, all } = await execa('docker', args, { all: true, reject: false, stdin: 'ignore' });
      return { exitCode, all };
    },
    async locate() {
      opened.url = `http://${await compose('port', 'server', '8000')}`;
    },
    repository: (name) => makeRepository(join(folder, 'git'), name),
    async posts() {
      const address = await compose('port', 'forge', '3002');
      return (await (await fetch(`http://${address}`)).json()) as FakeForge['posts'];
    },
    async crash(service) {
      const state = async (field: string): Promise<string> =>
        docker('inspect', '-f', `{{${field}}}`, await idOf(service));
      const [pid, restarts] = [await state('.State.Pid'), await state('.RestartCount')];
      const options = ['--rm', '--user=0', '--pid=host', '--network=none', '--entrypoint=/bin/sh'];
      await docker('run', ...options, 'impgem-test/redis', '-c', `kill -9 ${pid}`);
      await poll(async () => ((await state('.RestartCount')) === restarts ? undefined : true));
      await poll(async () =>
        /running(healthy)?$/.test(await state('.State.Status}}{{with .State.Health}}{{.Status}}{{end'))
          ? true
          : undefined,
      );
    },
    async down() {
      await compose('down', '--volumes', '--timeout', '0', '--remove-orphans');
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await compose('build', 'server');
    await compose('up', '-d', '--no-build', 'server', 'worker', 'forge');
    await opened.locate();
    // The engine inside has no registry to pull from either.
    await execa('sh', [
      '-c',
      `docker save ${BASE_IMAGE} | docker exec -i "$1" docker load`,
      'sh',
      await idOf('docker'),
    ]);
  } catch (error) {
    await opened.down();
    throw error;
  }
  return opened;
}

/** Sets values in the text of .env.example, commented out there or not. Throws for a name that it does not have. */
function fillIn(example: string, settings: Record<string, string>): string {
  let text = example;
  for (const [name, value] of Object.entries(settings)) {
    const line = new RegExp(`^#?${name}=.*$`, 'm');
    if (!line.test(text)) throw new Error(`.env.example does not have ${name}`);
    text = text.replace(line, `${name}=${value}`);
  }
  return text;
}
