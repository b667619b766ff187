import type Docker from 'dockerode';
import type { EngineKind } from './engine-kind.ts';
import type { EngineEvents } from './engine-events.ts';
import type { DockerOptions } from './options.ts';
import type { Images } from './images.ts';
import type { NetworkRules } from './network-rules.ts';
import type { Removal } from './removal.ts';
import type { StartQueue } from './start-queue.ts';

/** What one executor's functions share. */
export interface ExecutorParts {
  docker: Docker;
  engine: EngineKind;
  options: DockerOptions;
  events: EngineEvents;
  removal: Removal;
  starts: StartQueue;
  images: Images;
  /** Gives the operator's image once the engine has it, of whatever version. */
  ownImage: () => Promise<string>;
  rules: NetworkRules;
  /** User ids by `IMAGE-ID NAME`, as far as they were asked for. */
  users: Map<string, number>;
  /** Whether the engine sees our disk; asked once, with an image that it has. */
  sharesDisk: (image: string) => Promise<boolean>;
}
