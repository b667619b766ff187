/** Starters by the limits that they give: kept for the next step, of whichever job. */
import type { Limits } from '../../runs/plan.ts';
import type { Starter } from './starter.ts';

export interface Starters {
  /** One that nobody else has until it is given back. */
  take: (limits: Limits) => Promise<Starter>;
  giveBack: (starter: Starter, limits: Limits) => Promise<void>;
  /** Makes one ready, so that the next step need not wait for it. */
  warm: (limits: Limits) => void;
  close: () => Promise<void>;
}

/** Idle starters that are kept: more only serve a worker whose concurrency fell. */
const KEPT = 8;

export function createStarters(create: (limits: Limits) => Promise<Starter>): Starters {
  let idle: { key: string; starter: Promise<Starter> }[] = [];

  const giveBack = async (starter: Starter, limits: Limits): Promise<void> => {
    const oldest = idle.length >= KEPT ? idle.shift() : undefined;
    if (starter.isAlive()) idle.push({ key: keyOf(limits), starter: Promise.resolve(starter) });
    else await starter.close();
    if (oldest !== undefined) await closeMade(oldest.starter);
  };

  return {
    take: async (limits) => {
      for (;;) {
        const at = idle.findLastIndex(({ key }) => key === keyOf(limits));
        const [found] = at < 0 ? [] : idle.splice(at, 1);
        if (found === undefined) return create(limits);
        // One that could not be made ahead is made again here, where its failure is told.
        const starter = await found.starter.catch(() => undefined);
        if (starter?.isAlive() === true) return starter;
        await starter?.close();
      }
    },
    giveBack,
    warm: (limits) => {
      if (idle.some(({ key }) => key === keyOf(limits))) return;
      const starter = create(limits);
      starter.catch(() => undefined);
      idle.push({ key: keyOf(limits), starter });
    },
    close: async () => {
      const closing = idle;
      idle = [];
      await Promise.all(closing.map(({ starter }) => closeMade(starter)));
    },
  };
}

/** One that could not be made ahead needs no closing. */
async function closeMade(starter: Promise<Starter>): Promise<void> {
  await (await starter.catch(() => undefined))?.close();
}

function keyOf({ memory, cpu, pids }: Limits): string {
  return JSON.stringify([memory, cpu, pids]);
}
