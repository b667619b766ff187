import type { AdoptedJob, Executor, JobContext } from '../executor.ts';
import { connectEngine, engineCall } from './engine.ts';
import { createEngineEvents } from './engine-events.ts';
import { createJobSandbox } from './job-sandbox.ts';
import { holderName, LABEL, ownerLabels } from './labels.ts';
import { createLimiter } from './limiter.ts';
import type { DockerOptions } from './options.ts';
import type { ExecutorParts } from './parts.ts';
import { createRemoval } from './removal.ts';
import { createSlot } from './slot.ts';

const STARTS_AT_ONCE = 3;

/**
 * Runs each task in a fresh container of a Docker engine. Throws InfrastructureError when the engine does not answer.
 */
export async function createDockerExecutor(options: DockerOptions): Promise<Executor> {
  const engine = await connectEngine(options);
  const { docker } = engine;
  await engineCall('use the Docker engine', () => docker.ping());
  const events = createEngineEvents(docker, `${LABEL.instance}=${options.instance}`);
  const removal = createRemoval(
    docker,
    () => Promise.resolve(),
    () => undefined,
  );
  const parts: ExecutorParts = { docker, options, events, removal, limitStarts: createLimiter(STARTS_AT_ONCE) };

  return {
    name: 'docker',
    adopts: true,
    async prepare(job: JobContext) {
      const slot = await createSlot(parts, {
        folder: job.folder,
        image: job.image,
        ...(job.objects === undefined ? {} : { objects: job.objects }),
        labels: ownerLabels(job.owner),
        holderName: holderName(job.owner),
      });
      return createJobSandbox(parts, job, slot);
    },
    adopt: (): Promise<AdoptedJob | undefined> => Promise.resolve(undefined),
    reap: () => Promise.resolve(0),
    async describe() {
      const { Version, ApiVersion } = await engineCall('ask the engine for its version', () => docker.version());
      return `Docker engine ${Version} (API ${ApiVersion})`;
    },
    async close() {
      await removal.idle();
      events.close();
      engine.close();
    },
  };
}
