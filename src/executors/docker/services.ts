/** Services of a job: containers on its network, found by name, their output kept by the engine. */
import { join } from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { isRestLeftOut, restLeftOut } from '../rest-of-output.ts';
import { createServiceOutput, type LastTry } from '../service-failures.ts';
import type { Output, Service, ServiceTask } from '../executor.ts';
import { environmentOf, shellCommand } from '../shell.ts';
import { bindsOf, containerOptions } from './container-spec.ts';
import { engineError, sentenceOf } from './engine.ts';
import type { ContainerEnd, WatchedEnd } from './engine-events.ts';
import { followEngineLog } from './engine-log.ts';
import { checkWorkdir, readWorkdir } from './image-workdir.ts';
import { LABEL } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import { ENTER } from './service-ready.ts';
import { networkName, type Slot } from './slot.ts';
import { startError } from './step-container.ts';

const KILLED = 137;
const NEWLINE = 10;

export interface StartedService extends Service {
  containerId: string;
  /** Why it was not ready: stands in its log when its output is at its end. */
  unready?: LastTry;
}

/**
 * Creates and starts the container of a service, whose image is there; its output and its end are followed from here on.
 * `beforeStart`: hears of the container. `stop`: its output is wanted no more.
 */
export async function openService(
  parts: ExecutorParts,
  image: string,
  slot: Slot,
  service: ServiceTask,
  output: Output,
  { beforeStart, stop }: { beforeStart: (containerId: string) => Promise<void>; stop: AbortSignal },
): Promise<StartedService> {
  const { PATH, HOME, ...env } = environmentOf({ env: service.env, path: [] });
  const own = service.run === undefined ? {} : { HOME: HOME ?? '' };
  // A script is the pipeline's, as a step's is; the image's own command is left the user that it is made for.
  const user = service.run === undefined ? undefined : parts.options.runAs;
  const workdir = service.run === undefined ? await readWorkdir(parts.docker, image) : undefined;
  const files = slot.volumes ?? { workspace: join(slot.folder, 'workspace'), home: join(slot.folder, 'home') };
  const container = await creating(service, image, () =>
    parts.docker.createContainer(
      containerOptions({
        engine: parts.engine,
        image,
        ...(service.run === undefined ? {} : { entrypoint: scriptCommand(service.run) }),
        ...(workdir === undefined ? {} : { workdir }),
        unset: parts.images.seen(image)?.reserved ?? [],
        env: { ...own, ...env, ...(service.env['PATH'] === undefined ? {} : { PATH: PATH ?? '' }) },
        labels: { ...slot.labels, [LABEL.step]: `service-${service.name}` },
        network: networkName(slot.id),
        aliases: [service.name],
        limits: parts.options.limits,
        // The files of the job are the pipeline's: an image's own command, such as Redis's, may take what it finds for its own.
        binds: service.run === undefined ? [] : bindsOf(files),
        stdin: false,
        log: 'kept',
        ...(user === undefined ? {} : { user }),
      }),
    ),
  );
  slot.containers.add(container.id);
  if (workdir !== undefined) await checkWorkdir(parts.docker, container.id, workdir, image);
  await beforeStart(container.id);
  const end = parts.events.watch(container.id);
  try {
    await container.start();
  } catch (error) {
    end.forget();
    throw startError(error, image, `start the service ${service.name}`);
  }
  const log = createServiceOutput(service.name, output);
  const following = followService(parts, container.id, log, { end, stop });
  const started: StartedService = {
    containerId: container.id,
    ended: following.then(async (code) => {
      if (started.unready) await log.tell(started.unready);
      return code;
    }),
  };
  return started;
}

async function creating<T>(service: ServiceTask, image: string, create: () => Promise<T>): Promise<T> {
  try {
    return await create();
  } catch (error) {
    if (!/no command specified/i.test(sentenceOf(error)))
      throw engineError(error, `create the service ${service.name}`);
    const message = `The image ${image} has no command of its own: give the service ${service.name} a run`;
    throw new InputError('image-without-command', message, { cause: error });
  }
}

const NO_BASH = 'This image has no bash, which the run of a service needs';

/** The script as an argument: a service has no folder of its own. Bash is where a step finds it: see entry.ts. */
function scriptCommand(script: string): string[] {
  const [bash = '', ...options] = shellCommand('bash', '-c');
  const find = `[ -x ${bash} ] && set -- ${bash} || set -- "$(command -v bash)"`;
  const refuse = `if [ -z "$1" ]; then echo '${NO_BASH}'; exit 127; fi`;
  return ['/bin/sh', '-c', `${ENTER}; ${find}; ${refuse}; exec "$1" ${options.join(' ')} "$0"`, script];
}

/**
 * Takes a service's output from its first byte to its end; gives its exit code. What the engine dropped before it was taken
 * the log is told of. Error `service-output-left-out` when `stop` was aborted before.
 */
export async function followService(
  parts: ExecutorParts,
  containerId: string,
  output: Output,
  { end, stop }: { end: WatchedEnd; stop: AbortSignal },
): Promise<number> {
  // A log that takes no more is told of where it is written; the service runs on.
  const log = { open: true, lastByte: NEWLINE };
  const write = async (bytes: Buffer): Promise<void> => {
    log.lastByte = bytes.at(-1) ?? log.lastByte;
    if (log.open) await output.write(bytes).catch(() => (log.open = false));
  };
  try {
    for await (const bytes of followEngineLog(parts, containerId, end.signal, undefined, stop)) await write(bytes);
  } catch (error) {
    if (!isRestLeftOut(error)) throw error;
    // How it ended is known all the same.
    await write(Buffer.from(`${log.lastByte === NEWLINE ? '' : '\n'}[impgem] ${messageOf(error)}\n`));
  }
  if (stop.aborted) throw restLeftOut();
  return (end.signal.reason as ContainerEnd).code ?? KILLED;
}
