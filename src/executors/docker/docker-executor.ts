import { setTimeout as delay } from 'node:timers/promises';
import { InfrastructureError } from '../../errors.ts';
import type { AdoptedJob, Executor, JobContext } from '../executor.ts';
import { adoptSlot } from './adopt-slot.ts';
import { connectEngine, engineCall } from './engine.ts';
import { createEngineEvents } from './engine-events.ts';
import { askKind } from './engine-kind.ts';
import { tellEngineLoss, tellUnready } from './engine-loss.ts';
import { createPlatformCheck } from './foreign-images.ts';
import { createImages } from './images.ts';
import { createJobImages } from './job-images.ts';
import { createJobSandbox } from './job-sandbox.ts';
import { commonLabels, LABEL } from './labels.ts';
import { createNetworkRules } from './network-rules.ts';
import type { DockerOptions } from './options.ts';
import type { ExecutorParts } from './parts.ts';
import { probeDisk } from './probe-disk.ts';
import { probeEngine } from './probe-engine.ts';
import { reapSlots } from './reap.ts';
import { createRemoval } from './removal.ts';
import { removeFolder } from './remove-folder.ts';
import { createSlot } from './slot.ts';
import { createStartQueue } from './start-queue.ts';
import { createWaitingSteps } from './waiting-steps.ts';
import { createWarmSlots, type WarmSlot } from './warm-slots.ts';

/** A step usually begins just when the container of the one before it is to be removed. */
const HEAD_START_MS = 40;
/** An engine that takes longer to say its version has other worries than our jobs. */
const ANSWER_MS = 2000;

/**
 * Runs each task in a fresh container of a Docker engine. Throws InfrastructureError when the engine does not answer.
 */
export async function createDockerExecutor(asked: DockerOptions): Promise<Executor> {
  const connection = await connectEngine(asked);
  const { docker } = connection;
  const engine = await askKind(docker);
  // It refuses every container that may use more cores than it has.
  const cpu = Math.min(asked.limits.cpu, engine.cores ?? Infinity);
  const options = { ...asked, limits: { ...asked.limits, cpu } };
  const labels = commonLabels(options);
  const images = createImages(docker, options, createPlatformCheck(docker, labels));
  const report = options.onProblem ?? (() => undefined);
  const rules = createNetworkRules(docker, labels, {
    blocked: options.blockedNetworks ?? [],
    image: ownImage,
    onCaveat: (caveat) => report(new InfrastructureError('network-rules', caveat)),
  });
  const events = createEngineEvents(docker, `${LABEL.instance}=${options.instance}`, () => {
    rules.forget();
    removal.again();
    warm.refill();
  });
  const starts = createStartQueue();
  const removal = createRemoval(docker, () => delay(HEAD_START_MS).then(() => starts.quiet()), report);
  const sharesDisk = askOnce((image) => probeDisk(docker, options.folder, image, labels), options.sharesDisk);
  const parts: ExecutorParts = {
    docker,
    engine,
    options,
    events,
    removal,
    starts,
    images,
    ownImage,
    rules,
    sharesDisk,
    users: new Map(),
  };
  const warm = createWarmSlots(parts, options.warmSlots ?? 2, report);
  if (options.warmSlots !== 0) void warmUp(options.image);

  /** What it is good for does not depend on its version: it is pulled only where it is missing. */
  async function ownImage(): Promise<string> {
    if (!(await images.has(options.image))) await images.ensure(options.image, () => undefined);
    return options.image;
  }

  /** So that not even the first job waits. Nothing is pulled for it. */
  async function warmUp(image: string): Promise<void> {
    if (await images.has(image).catch(() => false)) warm.use(image);
  }

  /** Slots of jobs that live in this process. */
  const open = new Set<string>();

  async function newSlot(job: JobContext): Promise<WarmSlot> {
    const { folder, image, objects, owner, abandoned } = job;
    const images = createJobImages(parts.images, job.note);
    const slot = await createSlot(parts, {
      folder,
      image,
      images,
      owner,
      ...(objects === undefined ? {} : { objects }),
      ...(abandoned === undefined ? {} : { abandoned }),
    });
    return { slot, images, waiting: createWaitingSteps(parts, slot, image, images) };
  }

  function openJob(job: JobContext, place: WarmSlot): AdoptedJob {
    const { id } = place.slot;
    open.add(id);
    const sandbox = createJobSandbox(parts, job, place, () => open.delete(id));
    return tellEngineLoss(parts, place.slot.holderId, sandbox);
  }

  return {
    name: 'docker',
    adopts: true,
    async prepare(job) {
      // Before anything is awaited: a warm slot brings the job's folders with it.
      const claimed = warm.claim(job);
      const place = claimed ?? (await tellUnready(newSlot(job)));
      warm.use(job.image);
      return openJob(claimed ? { ...job, ready: both(job.ready, claimed.named) } : job, place).sandbox;
    },
    async adopt(job) {
      const slot = await tellUnready(adoptSlot(parts, job));
      if (!slot) return undefined;
      const images = createJobImages(parts.images, job.note);
      return openJob(job, { slot, images, waiting: createWaitingSteps(parts, slot, job.image, images) });
    },
    reap: (isLive) => reapSlots(parts, isLive, () => new Set([...open, ...warm.ids()])),
    async trouble() {
      const { ok } = await probeEngine(options, ANSWER_MS);
      return ok ? parts.rules.trouble() : 'the Docker engine does not answer';
    },
    removeFolder: (folder) => removeFolder(parts, folder),
    async describe() {
      const { Version, ApiVersion } = await engineCall('ask the engine for its version', () => docker.version());
      return `${engine.name} engine ${Version} (API ${ApiVersion})`;
    },
    async close() {
      removal.hurry();
      await warm.close();
      removal.again();
      await removal.idle();
      // What the engine made as it died, and we never heard of.
      await reapSlots(
        parts,
        () => true,
        () => new Set(open),
      ).catch(() => undefined);
      events.close();
      connection.close();
    },
  };
}

/** Whoever awaits it hears of a failure; nobody need. */
function both(...promises: Promise<void>[]): Promise<void> {
  const all = Promise.all(promises).then(() => undefined);
  all.catch(() => undefined);
  return all;
}

/** A failed question is asked again. */
function askOnce(ask: (image: string) => Promise<boolean>, known?: boolean): (image: string) => Promise<boolean> {
  let answer = known === undefined ? undefined : Promise.resolve(known);
  return (image) => {
    answer ??= ask(image).catch((error: unknown) => {
      answer = undefined;
      throw error;
    });
    return answer;
  };
}
