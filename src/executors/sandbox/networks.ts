/** Networks of jobs: whether there are any, and one that is made ahead. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InfrastructureError, messageOf } from '../../errors.ts';
import { createNetwork, findNetworkTools, type JobNetwork, type NetworkTools } from './network.ts';

/** `private`: a network of its own for each job, or no job. `auto`: that where it can be, else the host's. */
export type NetworkChoice = 'auto' | 'host' | 'private';

export interface Networks {
  /** One that nobody else has or had. */
  take: () => Promise<JobNetwork>;
  /** Nothing runs in it any more. It goes beside the next job: the kernel takes 20 ms for it. */
  release: (network: JobNetwork) => void;
  /** Makes one ready, so that the next job need not wait for it. */
  warm: () => void;
  close: () => Promise<void>;
}

export interface NetworkUse {
  /** Undefined: steps are on the host's network. */
  networks?: Networks;
  /** Why they are, although this machine has all that a network needs. */
  fault?: string;
}

/**
 * Tried once, by making the first network: from then on a network that cannot
 * be made is an error and never opens the host's to a step. Error `sandbox-network` where `private` cannot be had.
 */
export async function openNetworks(choice: NetworkChoice, folder: string): Promise<NetworkUse> {
  if (choice === 'host') return {};
  const tools = findNetworkTools();
  if (typeof tools !== 'string') {
    try {
      return { networks: createNetworks(tools, folder, await createNetwork(tools, folder)) };
    } catch (error) {
      if (choice === 'private') throw error;
      return { fault: messageOf(error) };
    }
  }
  if (choice === 'auto') return {};
  throw new InfrastructureError(
    'sandbox-network',
    `IMPGEM_SANDBOX_NETWORK=private needs more than there is: ${tools}.`,
  );
}

function createNetworks(tools: NetworkTools, folder: string, first: JobNetwork): Networks {
  const going = new Set<Promise<void>>();
  let ahead: Promise<JobNetwork> | undefined = Promise.resolve(first);
  return {
    take: async () => {
      const taken = ahead;
      ahead = undefined;
      // One that could not be made ahead is made again here, where its failure is told.
      const network = await taken?.catch(() => undefined);
      if (network?.isAlive() === true) return network;
      await network?.close();
      return createNetwork(tools, folder);
    },
    release: (network) => {
      const gone = network.close().finally(() => going.delete(gone));
      going.add(gone);
    },
    warm: () => {
      if (ahead !== undefined) return;
      ahead = createNetwork(tools, folder);
      ahead.catch(() => undefined);
    },
    close: async () => {
      const last = await ahead?.catch(() => undefined);
      ahead = undefined;
      await Promise.all([last?.close(), ...going]);
    },
  };
}

/** Why a job cannot have a network of its own on this machine; undefined: it can. */
export async function probeNetwork(): Promise<string | undefined> {
  const tools = findNetworkTools();
  if (typeof tools === 'string') return tools;
  const folder = await mkdtemp(join(tmpdir(), 'impgem-network-'));
  try {
    await (await createNetwork(tools, folder)).close();
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
