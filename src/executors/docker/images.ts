/** Images on the engine: there already, or pulled once for all jobs that want them, with progress in each job's log. */
import type Docker from 'dockerode';
import { type ImpGemError, InfrastructureError, InputError, messageOf } from '../../errors.ts';
import { engineCall, engineError, isFull, isGone, sentenceOf } from './engine.ts';
import type { CheckPlatform, Platform } from './foreign-images.ts';
import { parseImageName } from './image-name.ts';
import type { DockerOptions } from './options.ts';
import { readRegistryAuths } from './registry-auth.ts';

export type Note = (line: string) => void;

export interface Images {
  /**
   * Settles when the image is on the engine, with its digest or id. Pulled when it is missing, or always where the
   * policy says so. InputErrors `image-name`, `image-not-found`, `image-platform`, `image-denied` (nobody gave us
   * credentials); InfrastructureErrors `image-denied` (those that we have are refused), `engine-no-space`,
   * `registry-unreachable`.
   */
  ensure(image: string, note: Note): Promise<string>;
  /** What the last `ensure` of an image found. */
  seen(image: string): SeenImage | undefined;
  /** Whether the engine has it already. */
  has(image: string): Promise<boolean>;
}

export interface SeenImage {
  id: string;
  /** The id when there is none. */
  digest: string;
  /** As the image names it. */
  user: string;
  /** Names of those of its variables that are ours to set, and are not set where we set none. */
  reserved: string[];
}

const RESERVED = /^(CI|IMPGEM)_/;

const NOTE_EVERY_MS = 2000;

interface Pull {
  done: Promise<void>;
  listeners: Set<Note>;
}

export function createImages(
  docker: Docker,
  options: Pick<DockerOptions, 'pullPolicy' | 'authConfig'>,
  checkPlatform: CheckPlatform,
): Images {
  const authOf = readRegistryAuths(options.authConfig);
  const pulls = new Map<string, Pull>();
  const seen = new Map<string, SeenImage>();

  async function inspect(full: string): Promise<(SeenImage & { platform: Platform }) | undefined> {
    return engineCall(`look for the image ${full}`, async () => {
      try {
        const { Id, RepoDigests, Config, Os, Architecture } = await docker.getImage(full).inspect();
        // One image may have come from several repositories, each with a digest of its own.
        const own = RepoDigests.find((digest) => repositoryOf(digest) === repositoryOf(full));
        const digest = own?.split('@')[1] ?? Id;
        const platform = Os && Architecture ? `${Os}/${Architecture}` : '';
        // None at all is null.
        const names = ((Config.Env as string[] | null) ?? []).map((variable) => variable.replace(/=.*$/s, ''));
        const image = { id: Id, digest, user: Config.User, reserved: names.filter((name) => RESERVED.test(name)) };
        seen.set(full, image);
        return { ...image, platform };
      } catch (error) {
        if (isGone(error)) return undefined;
        throw error;
      }
    });
  }

  async function usable(full: string, { id, digest, platform }: SeenImage & { platform: Platform }): Promise<string> {
    await checkPlatform(full, id, platform);
    return digest;
  }

  function pull(full: string, registry: string): Pull {
    const running = pulls.get(full);
    if (running) return running;
    const listeners = new Set<Note>();
    const tell: Note = (line) => {
      for (const listener of listeners) listener(line);
    };
    const done = pullOnce(docker, full, authOf(registry), tell).finally(() => pulls.delete(full));
    done.catch(() => undefined);
    const started = { done, listeners };
    pulls.set(full, started);
    return started;
  }

  return {
    seen: (image) => seen.get(parseImageName(image).full),
    has: async (image) => (await inspect(parseImageName(image).full)) !== undefined,
    async ensure(image, note) {
      const { full, registry } = parseImageName(image);
      if (options.pullPolicy === 'missing') {
        const there = await inspect(full);
        if (there !== undefined) return usable(full, there);
      }
      note(`pulling image ${full}`);
      const { done, listeners } = pull(full, registry);
      listeners.add(note);
      try {
        await done;
      } finally {
        listeners.delete(note);
      }
      const pulled = await inspect(full);
      if (pulled === undefined) throw new InfrastructureError('image-not-found', `The image ${full} vanished`);
      note(`pulled image ${full} (${pulled.digest})`);
      return usable(full, pulled);
    },
  };
}

/** As engines write it: some leave out what stands for Docker Hub, others do not. */
function repositoryOf(reference: string): string {
  return reference
    .replace(/@.*$/, '')
    .replace(/:[^:/]*$/, '')
    .replace(/^docker\.io\//, '')
    .replace(/^library\//, '');
}

interface Progress {
  id?: string;
  error?: string;
  progressDetail?: { current?: number; total?: number };
}

async function pullOnce(docker: Docker, full: string, auth: object | undefined, tell: Note): Promise<void> {
  try {
    const stream = await docker.pull(full, auth === undefined ? {} : { authconfig: auth });
    const layers = new Map<string, { current: number; total: number }>();
    let saidAt = Date.now();
    await new Promise<void>((resolve, reject) => {
      docker.modem.followProgress(
        stream,
        (error) => (error ? reject(error) : resolve()),
        ({ id, error, progressDetail }: Progress) => {
          // An error during the pull is a line among the others; the stream itself ends well.
          if (error !== undefined) reject(new Error(error));
          if (id === undefined || progressDetail?.total === undefined) return;
          layers.set(id, { current: progressDetail.current ?? 0, total: progressDetail.total });
          if (Date.now() - saidAt < NOTE_EVERY_MS) return;
          saidAt = Date.now();
          tell(`pulling image ${full}: ${inWords(layers.values())}`);
        },
      );
    });
  } catch (error) {
    throw pullError(error, full, auth !== undefined);
  }
}

function inWords(layers: Iterable<{ current: number; total: number }>): string {
  let [current, total] = [0, 0];
  for (const layer of layers) {
    current += layer.current;
    total += layer.total;
  }
  return `${Math.round(current / 1e6)} of ${Math.round(total / 1e6)} MB`;
}

interface Kind {
  pattern: RegExp;
  code: string;
  say: (image: string, hadAuth: boolean) => string;
  /** Whose fault it is: the pipeline's, which names it, ours, or one that may pass. */
  fault: (hadAuth: boolean) => 'pipeline' | 'ours' | 'passing';
}

const KINDS: Kind[] = [
  {
    pattern: /no matching manifest|does not match the specified platform|image operating system/i,
    code: 'image-platform',
    say: (image) => `The image ${image} does not exist for the platform of this engine`,
    fault: () => 'pipeline',
  },
  {
    // Docker Hub says so of a name with a slip in it.
    pattern: /denied|unauthorized|authentication required|no basic auth/i,
    code: 'image-denied',
    say: (image, hadAuth) =>
      `The registry refuses the image ${image}: it does not exist, or ` +
      (hadAuth
        ? 'the credentials in DOCKER_AUTH_CONFIG may not read it'
        : 'it needs credentials in DOCKER_AUTH_CONFIG'),
    fault: (hadAuth) => (hadAuth ? 'ours' : 'pipeline'),
  },
  {
    pattern: /manifest unknown|not found|does not exist|name unknown/i,
    code: 'image-not-found',
    say: (image) => `There is no image ${image}: check name and tag`,
    fault: () => 'pipeline',
  },
  {
    pattern: /dial tcp|no such host|connection refused|timeout|temporary failure|TLS handshake|EOF|server gave HTTP/i,
    code: 'registry-unreachable',
    say: (image) => `The registry of the image ${image} cannot be reached from the Docker engine`,
    fault: () => 'passing',
  },
];

/** What the engine's error of a pull means: to the pipeline, to the operator, or to the next try. */
export function pullError(error: unknown, image: string, hadAuth: boolean): ImpGemError {
  const text = sentenceOf(error);
  // A full disk first: such an error names the file that did not fit, and a file may be called anything (`timeout`).
  const kind = isFull(text) ? undefined : KINDS.find(({ pattern }) => pattern.test(text));
  if (!kind)
    return engineError(error instanceof Error ? error : new Error(messageOf(error)), `pull the image ${image}`);
  const fault = kind.fault(hadAuth);
  const message = kind.say(image, hadAuth);
  return fault === 'pipeline'
    ? new InputError(kind.code, message, { cause: error })
    : new InfrastructureError(kind.code, message, { cause: error, retryable: fault === 'passing' });
}
