/** A container for one step: made and started ahead, waiting for its script; then run to its end. */
import { randomBytes } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Limits } from '../../runs/plan.ts';
import { type ImpGemError, InputError } from '../../errors.ts';
import type { Task, UpcomingTask } from '../executor.ts';
import { capLimits } from '../limits.ts';
import { attachInput } from './attach.ts';
import { bindsOf, containerOptions, type MountedFolders } from './container-spec.ts';
import { type Entry, ENTRY_TO_ENGINE, ENTRY_TO_FILE, renderCommands } from './entry.ts';
import { engineCall, engineError, sentenceOf } from './engine.ts';
import type { WatchedEnd } from './engine-events.ts';
import { nestedSocketBind } from './nested-socket.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';
import { packStepFolders } from './step-archive.ts';
import { controlFolder, handoverFolder, makeStepFolder, openLog } from './step-folder.ts';

/** What tells containers apart before they know their script: a step takes only one that equals its own. */
export interface StepNeeds {
  image: string;
  network: 'default' | 'none';
  limits: Required<Limits>;
  docker: boolean;
}

export interface WaitingStep {
  needs: StepNeeds;
  containerId: string;
  /** Number of its folder under the slot's. */
  number: number;
  nonce: string;
  /** Its output as a file on our disk; absent where the engine keeps it. */
  log?: FileHandle;
  /** Commands go in; output comes out where it is no file. */
  stdio: NodeJS.ReadWriteStream;
  end: WatchedEnd;
}

export function needsOf(task: UpcomingTask, image: string, caps: Required<Limits>): StepNeeds {
  const { network, docker } = task;
  return { image: task.image ?? image, network, limits: capLimits(task.limits, caps), docker };
}

export function sameNeeds(a: StepNeeds, b: StepNeeds): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export function stepFolder(slot: Slot, number: number): string {
  return join(slot.folder, 'docker', 'steps', String(number));
}

/** Creates and starts a container of `slot` that waits for its commands. */
export async function startWaiting(
  parts: ExecutorParts,
  slot: Slot,
  needs: StepNeeds,
  labels: Record<string, string>,
): Promise<WaitingStep> {
  const number = slot.nextStep++;
  const folder = stepFolder(slot, number);
  const start = () => parts.starts.run(() => startContainer(parts, slot, needs, folder, labels));
  const known = { needs, number, nonce: randomBytes(12).toString('hex') };
  if (slot.volumes) return { ...(await start()), ...known };
  await makeStepFolder(folder);
  const log = await openLog(folder);
  try {
    return { ...(await start()), ...known, log };
  } catch (error) {
    await log.close();
    throw error;
  }
}

async function startContainer(
  parts: ExecutorParts,
  slot: Slot,
  needs: StepNeeds,
  folder: string,
  labels: Record<string, string>,
): Promise<Pick<WaitingStep, 'containerId' | 'stdio' | 'end'>> {
  const { docker, options } = parts;
  const nested = needs.docker ? [await nestedSocketBind(parts, slot)] : [];
  const container = await engineCall(`create a container of ${needs.image}`, () =>
    docker.createContainer(
      containerOptions({
        engine: parts.engine,
        image: needs.image,
        entrypoint: entryOf(slot).command,
        unset: parts.images.seen(needs.image)?.reserved ?? [],
        labels: { ...slot.labels, ...labels },
        network: needs.network === 'none' ? 'none' : `container:${slot.holderId}`,
        limits: needs.limits,
        binds: [...bindsOf(slot.volumes ?? sharedFolders(slot, folder)), ...nested],
        stdin: true,
        log: slot.volumes ? 'kept' : 'none',
        logLimit: options.logLimit + 1024 * 1024,
        ...(options.runAs === undefined ? {} : { user: options.runAs }),
      }),
    ),
  );
  slot.containers.add(container.id);
  const end = parts.events.watch(container.id);
  if (slot.volumes)
    await engineCall('prepare a container', async () => container.putArchive(await packStepFolders(), { path: '/' }));
  const out = slot.volumes !== undefined;
  const stdio = await engineCall('attach to a container', () => attachInput(docker, container.id, out));
  stdio.on('error', () => undefined); // The container may end before it is its turn; its end tells more than a broken pipe.
  if (!out) stdio.resume();
  try {
    await container.start();
  } catch (error) {
    stdio.end();
    end.forget();
    throw startError(error, needs.image);
  }
  return { containerId: container.id, stdio, end };
}

function entryOf(slot: Slot): Entry {
  return slot.volumes ? ENTRY_TO_ENGINE : ENTRY_TO_FILE;
}

function sharedFolders(slot: Slot, folder: string): MountedFolders {
  return {
    workspace: join(slot.folder, 'workspace'),
    home: join(slot.folder, 'home'),
    step: handoverFolder(folder),
    control: controlFolder(folder),
    objects: slot.objects,
  };
}

/** InputError `image-without-shell`, `image-user-unknown` when that is why a container does not start. */
export function startError(error: unknown, image: string, what = `start a container of ${image}`): ImpGemError {
  if (/exec: .*\/bin\/sh.*no such file/i.test(sentenceOf(error)))
    return new InputError('image-without-shell', `The image ${image} has no /bin/sh; steps need one`, { cause: error });
  const [, user] = /unable to find user ([^\s:]+)/.exec(sentenceOf(error)) ?? [];
  if (user !== undefined)
    return new InputError('image-user-unknown', `The image ${image} has no user ${user}, which it is to run as`, {
      cause: error,
    });
  return engineError(error, what);
}

/** No step comes: the entry process ends by itself. The container belongs to the slot. */
export async function letGo(step: WaitingStep): Promise<void> {
  step.stdio.end();
  step.end.forget();
  await step.log?.close();
}

/** The turn has come: hands the commands over. From here the container runs on by itself, and rests when the step is over. */
export function handOver(slot: Slot, step: WaitingStep, task: Task): void {
  step.stdio.write(renderCommands(task, step.nonce, entryOf(slot)));
}
