/**
 * Whose events are planned at once: a repository, or a whole forge, that does not answer takes a few places and leaves
 * the others to the rest. Who waits for such a one is put back into the queue instead of holding a place.
 */
import { EventEmitter, once } from 'node:events';
import type { EventPayload } from '../queue/queues.ts';
import { parseRepository } from '../runs/event.ts';

/** Events that are taken up at once. */
export const PLANNERS = 24;
/** Of one forge: the rest of the places is for the other. */
const PER_FORGE = 16;
/** One fetches, another writes its runs: two fetches of a repository wait for each other anyway. */
const PER_REPOSITORY = 2;
/** A line in which nobody came or went for so long stands still. */
const PATIENCE_MS = 3000;
const AGAIN_MS = 3000;

/** ms until the next try, or undefined when it is done. */
type Handle = (payload: EventPayload) => Promise<number | undefined>;

/** The same, for PLANNERS events at once, each after `before` and when it is its turn. */
export function planFairly(before: (payload: EventPayload) => Promise<void>, handle: Handle): Handle {
  const inForge = createLines(PER_FORGE);
  const inRepository = createLines(PER_REPOSITORY);
  return async (payload) => {
    await before(payload);
    const { repository } = payload.event;
    const forge = parseRepository(repository)?.forge ?? '';
    return inRepository(repository, () => inForge(forge, () => handle(payload)));
  };
}

interface Line {
  users: number;
  working: number;
  movedAt: number;
  moved: EventEmitter;
}

/** `places` of each name work at once; a line that stands still sends away who waits in it. */
function createLines(places: number) {
  const lines = new Map<string, Line>();
  return async (name: string, work: () => Promise<number | undefined>): Promise<number | undefined> => {
    const line = lines.get(name) ?? { users: 0, working: 0, movedAt: 0, moved: new EventEmitter().setMaxListeners(0) };
    lines.set(name, line);
    line.users++;
    const move = (by: 1 | -1): void => {
      line.working += by;
      line.movedAt = performance.now();
      line.moved.emit('moved');
    };
    try {
      while (line.working >= places) {
        const left = Math.ceil(line.movedAt + PATIENCE_MS - performance.now());
        if (left <= 0) return AGAIN_MS;
        await once(line.moved, 'moved', { signal: AbortSignal.timeout(left) }).catch(() => undefined);
      }
      move(1);
      try {
        return await work();
      } finally {
        move(-1);
      }
    } finally {
      line.users--;
      if (line.users === 0) lines.delete(name);
    }
  };
}
