import type Docker from 'dockerode';
import type { EngineEvents } from './engine-events.ts';
import type { DockerOptions } from './options.ts';
import type { Removal } from './removal.ts';

/** What one executor's functions share. */
export interface ExecutorParts {
  docker: Docker;
  options: DockerOptions;
  events: EngineEvents;
  removal: Removal;
  /** Starting many containers at once makes each of them slower, the one that is waited for included. */
  limitStarts: <T>(work: () => Promise<T>) => Promise<T>;
}
