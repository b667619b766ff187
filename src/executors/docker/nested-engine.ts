/**
 * An engine of the job's own inside the job's network, for steps with `docker: true`. Its container has rights that no
 * other of ours has (NestedRights), so only jobs of trusted repositories get one. It listens on no address: its socket is
 * in a volume that the asking steps mount and no other does.
 */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ImpGemError, InfrastructureError } from '../../errors.ts';
import type { JobContext } from '../executor.ts';
import { bindsOf, keptLog } from './container-spec.ts';
import { engineCall, statusOf } from './engine.ts';
import type { ContainerEnd, WatchedEnd } from './engine-events.ts';
import { payloadsOf } from './engine-log.ts';
import { LABEL, NESTED_STEP } from './labels.ts';
import { createNestedVolume, NESTED_HOST, NESTED_SOCKET, nestedSocketBind } from './nested-socket.ts';
import type { NestedOptions } from './options.ts';
import type { ExecutorParts } from './parts.ts';
import { runExec } from './run-exec.ts';
import { stopContainer } from './run-step.ts';
import { GAVE_UP, tryUntil } from './service-ready.ts';
import { networkName, type Slot } from './slot.ts';

export interface NestedEngine {
  /**
   * Settles when it answers; the first call starts it. Errors: `docker-untrusted`, `docker-unavailable`,
   * `nested-engine-failed`, and those of images.
   */
  ready(): Promise<void>;
  /** Nothing is started after this; what was started belongs to the slot. */
  close(): Promise<void>;
}

/** Its name in the job's network: a step finds there the ports that its own containers publish. */
const ALIAS = 'docker';
const READY_MS = 60_000;
const LAST_WORDS = 10;
const LOG_LIMIT = 10 * 1024 * 1024;

export function createNestedEngine(parts: ExecutorParts, job: JobContext, slot: Slot): NestedEngine {
  let state: 'open' | 'closed' = 'open';
  let creating: Promise<string> | undefined;
  let answers: Promise<void> | undefined;

  async function begin(nested: NestedOptions): Promise<void> {
    if (slot.nestedId === undefined) {
      await parts.images.ensure(nested.image, job.note);
      checkOpen();
      slot.nestedId = await (creating = createContainer(parts, slot, nested));
      checkOpen();
    }
    const id = slot.nestedId;
    const end = parts.events.watch(id);
    try {
      await startContainer(parts, id);
      await untilReady(parts, id, end);
    } catch (error) {
      await stopContainer(parts, id);
      forget(id);
      throw error;
    }
    end.signal.addEventListener('abort', () => {
      // Its images are in the volume: the next step that asks has them again.
      if (state === 'open') job.note(`the nested engine ended (exit code ${codeOf(end) ?? 'unknown'})`);
      forget(id);
    });
  }

  function forget(id: string): void {
    if (state === 'closed' || slot.nestedId !== id) return;
    answers = undefined;
    slot.nestedId = undefined;
    slot.containers.delete(id);
    void parts.removal.container(id);
  }

  function checkOpen(): void {
    if (state === 'closed') throw new ImpGemError('sandbox-closed', 'The job is over; it gets no nested engine');
  }

  return {
    async ready() {
      const { nested } = parts.options;
      if (!job.trusted)
        throw new ImpGemError(
          'docker-untrusted',
          '`docker: true` is for repositories that the operator lists in IMPGEM_TRUSTED_REPOSITORIES, and not for pull requests from forks.',
        );
      if (!nested) throw new ImpGemError('docker-unavailable', 'This worker gives no step a nested engine.');
      if (!answers) {
        const attempt = begin(nested);
        answers = attempt;
        attempt.catch(() => {
          if (answers === attempt) answers = undefined;
        });
      }
      await answers;
    },
    async close() {
      state = 'closed';
      await creating?.catch(() => undefined);
    },
  };
}

async function createContainer(parts: ExecutorParts, slot: Slot, { image, rights }: NestedOptions): Promise<string> {
  const { memory, cpu, pids } = parts.options.limits;
  const socket = await nestedSocketBind(parts, slot);
  const images = await createNestedVolume(parts, slot, 'images');
  // At the same paths as in a step: `docker run -v $PWD:/src` means what it says.
  const files = bindsOf(slot.volumes ?? { workspace: join(slot.folder, 'workspace'), home: join(slot.folder, 'home') });
  const network = networkName(slot.id);
  const container = await engineCall('create a nested engine', () =>
    parts.docker.createContainer({
      Image: image,
      // The image's own entry point, where it has one, prepares cgroups and the packet filter. No TCP, so no keys.
      Cmd: ['dockerd', `--host=${NESTED_HOST}`],
      Labels: { ...slot.labels, [LABEL.step]: NESTED_STEP },
      NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [ALIAS] } } },
      HostConfig: {
        ...rights,
        NetworkMode: network,
        Binds: [...files, socket, `${images}:/var/lib/docker`, ...(rights.Binds ?? [])],
        LogConfig: keptLog(parts.engine, LOG_LIMIT),
        IpcMode: 'private',
        // Its containers are within these as well.
        Memory: memory,
        MemorySwap: memory,
        NanoCpus: Math.round(cpu * 1e9),
        PidsLimit: pids,
      },
    }),
  );
  slot.containers.add(container.id);
  return container.id;
}

const NOT_MODIFIED = 304;

async function startContainer(parts: ExecutorParts, id: string): Promise<void> {
  await engineCall('start a nested engine', async () => {
    try {
      await parts.docker.getContainer(id).start();
    } catch (error) {
      if (statusOf(error) !== NOT_MODIFIED) throw error; // An earlier worker started it.
    }
  });
}

async function untilReady(parts: ExecutorParts, id: string, end: WatchedEnd): Promise<void> {
  // Steps may run as any user; who has the volume may use the socket.
  const attempt = `docker --host ${NESTED_HOST} version && chmod 666 ${NESTED_SOCKET}`;
  const command = ['/bin/sh', '-c', tryUntil(attempt, READY_MS)];
  const asked = await runExec(parts.docker, id, command, end.signal).catch(async (error: unknown) => {
    // A command cannot be run in a container that has ended: then that is what happened.
    if (await parts.events.look(id)) return undefined;
    throw error;
  });
  if (asked === 0) return;
  const how = asked === GAVE_UP ? `does not answer after ${READY_MS / 1000} s` : await howItEnded(parts, id, end);
  throw new InfrastructureError(
    'nested-engine-failed',
    `The nested engine ${how}. It may need other rights than IMPGEM_NESTED_ENGINE_OPTIONS gives it. Its last words: ${await lastWords(parts, id)}`,
  );
}

/** What ran in the container may be known to have ended before the container itself. */
async function howItEnded(parts: ExecutorParts, id: string, end: WatchedEnd): Promise<string> {
  await stopContainer(parts, id);
  await parts.events.look(id);
  return `ended with exit code ${codeOf(end) ?? 'unknown'}`;
}

function codeOf(end: WatchedEnd): number | undefined {
  return (end.signal.reason as ContainerEnd | undefined)?.code;
}

async function lastWords(parts: ExecutorParts, id: string): Promise<string> {
  try {
    const log = await parts.docker
      .getContainer(id)
      .logs({ stdout: true, stderr: true, tail: LAST_WORDS, follow: false });
    const pieces: Buffer[] = [];
    for await (const piece of payloadsOf(Readable.from([log]))) pieces.push(piece);
    return Buffer.concat(pieces).toString('utf8').trim().slice(-1000);
  } catch {
    return '(none)'; // It was removed: that it ended is said.
  }
}
