/** Networks of jobs: whether there are any, one that is made ahead, and those that jobs left untouched. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InfrastructureError, messageOf } from '../../errors.ts';
import { createNetwork, findNetworkTools, type JobNetwork, type NetworkTools } from './network.ts';

/** `private`: a network of its own for each job, or no job. `auto`: that where it can be, else the host's. */
export type NetworkChoice = 'auto' | 'host' | 'private';

export interface Networks {
  /** One that nobody else has, and in which nothing was ever sent. */
  take: () => Promise<JobNetwork>;
  /**
   * Nothing runs in it any more. Most jobs never use theirs: such a one is the next job's. Any other goes, beside the next
   * job: the kernel takes 20 ms for it.
   */
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

/** Untouched ones that are kept: more only serve a worker whose concurrency fell. */
const KEPT = 8;

function createNetworks(tools: NetworkTools, folder: string, first: JobNetwork): Networks {
  const going = new Set<Promise<void>>();
  const idle = [first];
  let ahead: Promise<JobNetwork> | undefined;
  const discard = (network: JobNetwork): void => {
    const gone = network.close().finally(() => going.delete(gone));
    going.add(gone);
  };
  const takeAhead = async (): Promise<JobNetwork | undefined> => {
    const taken = ahead;
    ahead = undefined;
    // One that could not be made ahead is made again by who needs it, where its failure is told.
    return taken?.catch(() => undefined);
  };
  return {
    take: async () => {
      for (;;) {
        const network = idle.pop() ?? (await takeAhead());
        if (network === undefined) return createNetwork(tools, folder);
        if (network.isAlive()) return network;
        discard(network);
      }
    },
    release: (network) => {
      if (idle.length < KEPT && network.isAlive() && network.isUntouched()) idle.push(network);
      else discard(network);
    },
    warm: () => {
      if (ahead !== undefined || idle.length > 0) return;
      ahead = createNetwork(tools, folder);
      ahead.catch(() => undefined);
    },
    close: async () => {
      const last = await takeAhead();
      for (const network of last === undefined ? idle.splice(0) : [last, ...idle.splice(0)]) discard(network);
      await Promise.all(going);
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
