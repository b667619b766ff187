import { setTimeout as delay } from 'node:timers/promises';
import { engineError, sentenceOf } from './engine.ts';
import type { Note } from './images.ts';
import { BRIDGE_PREFIX } from './network-rules.ts';
import type { ExecutorParts } from './parts.ts';

/** An engine has some thirty address pools unless it is told otherwise; jobs that end give theirs back. */
const PATIENCE_MS = 120_000;
const LOOK_AGAIN_MS = 500;

/** Creates the network of a slot and gives its id; waits for its turn when the engine has no address pool left. */
export async function createJobNetwork(
  parts: Pick<ExecutorParts, 'docker'>,
  slot: { id: string; name: string; labels: Record<string, string> },
  note: Note,
): Promise<string> {
  const options = {
    Name: slot.name,
    Labels: slot.labels,
    // A name of ours, so that rules of the packet filter can mean all jobs' bridges.
    Options: { 'com.docker.network.bridge.name': `${BRIDGE_PREFIX}${slot.id}` },
  };
  const startedAt = performance.now();
  for (let tries = 0; ; tries += 1) {
    try {
      return (await parts.docker.createNetwork(options)).id;
    } catch (error) {
      const mayPass = /address pool/i.test(sentenceOf(error)) && performance.now() - startedAt < PATIENCE_MS;
      if (!mayPass) throw engineError(error, 'create the network of a job');
      if (tries === 0) note('waiting for a network: all address pools of the Docker engine are taken');
      await delay(LOOK_AGAIN_MS);
    }
  }
}
