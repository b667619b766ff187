/**
 * Runs tasks on this machine, each in a bubblewrap sandbox of its own: no image, no daemon, milliseconds to start. What a
 * sandbox sees and what it shares with the host is said in root.ts; limits in cgroups.ts and step.ts.
 */
import type { Limits } from '../../runs/plan.ts';
import type { Executor } from '../executor.ts';
import { bubblewrapVersion, findBubblewrap } from './bubblewrap.ts';
import { findCgroups } from './cgroups.ts';
import { closeHost, openHost, removeRemains, type SandboxHost } from './host.ts';
import { createJobSandbox } from './job.ts';
import { probeNetwork, type NetworkChoice } from './networks.ts';
import { removeTree } from '../remove-tree.ts';

export { findBubblewrap } from './bubblewrap.ts';
export { probeNetwork } from './networks.ts';

export interface SandboxOptions {
  /** Host files and folders that steps may read, at the same path. */
  mounts: string[];
  /** Host folders that no step sees even below `/usr`, `/opt` or a mount: the data folder. */
  hide?: string[];
  /** For what a task does not say itself. */
  limits: Limits;
  /** Default `auto`. */
  network?: NetworkChoice;
  /** False: nothing is made ahead for a next job. */
  warm?: boolean;
}

export function createSandboxExecutor(options: SandboxOptions): Executor {
  let opening: Promise<SandboxHost> | undefined;
  const host = (): Promise<SandboxHost> => (opening ??= openHost(options));

  return {
    name: 'sandbox',
    adopts: false,
    prepare: async (job) => {
      const opened = host();
      // A machine without bubblewrap may get it while we run.
      opened.catch(() => (opening = undefined));
      const ready = await opened;
      // While the workspace is filled.
      ready.starters.warm(ready.limits);
      const { networks, fault } = ready.network;
      if (fault !== undefined) job.note(`steps are on the host's network: ${fault}`);
      const network = await networks?.take();
      return createJobSandbox(ready, job, network, () => {
        if (network !== undefined) networks?.release(network);
        if (options.warm !== false) networks?.warm();
      });
    },
    // Every sandbox dies with its worker (--die-with-parent).
    adopt: () => Promise.resolve(undefined),
    // Sandboxes die with their worker, so only what is dead itself is left, whoever owned it.
    reap: removeRemains,
    removeFolder: (folder) => removeTree(folder, { dead: true }),
    describe: () => describe(options.network ?? 'auto'),
    close: async () => {
      if (opening !== undefined) await closeHost(await opening);
      opening = undefined;
    },
  };
}

async function describe(choice: NetworkChoice): Promise<string> {
  const path = findBubblewrap();
  if (path === undefined) return 'sandbox: bubblewrap is not installed (apt-get install bubblewrap)';
  const cgroups = findCgroups();
  const limits =
    cgroups === undefined
      ? 'limits of memory and processes per process (no control groups may be made here), none of CPU'
      : `limits of ${cgroups.controllers.join(', ')} by control groups v${cgroups.version}`;
  return `sandbox: bubblewrap ${await bubblewrapVersion(path)}; ${limits}; ${await describeNetwork(choice)} unless \`network: none\``;
}

async function describeNetwork(choice: NetworkChoice): Promise<string> {
  const fault = choice === 'host' ? 'IMPGEM_SANDBOX_NETWORK=host' : await probeNetwork();
  return fault === undefined ? 'a network of its own for each job' : `the host's network (${fault})`;
}
