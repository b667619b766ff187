/** A worker's presence: it says that it lives, and takes no job while it could not run it. */
import { hostname } from 'node:os';
import { processStart } from '../process-start.ts';
import type { WorkerEntry, Workers } from '../runs/workers.ts';
import { freeRoom } from '../free-room.ts';

/** A small checkout has some hundreds of files; with less than this the next job would end in the midst of one. */
const MIN_FREE_FILES = 5000;

export interface PresenceDeps {
  workers: Workers;
  name: string;
  labels: string[];
  /** Where jobs work; below this many free bytes, or without inodes, no job is taken. */
  folder: string;
  minFreeBytes: number;
  /** What else keeps it from running jobs, in words. */
  trouble: () => Promise<string | undefined>;
  /** Hears why no job is taken from now on, or undefined when they are again. */
  onPause: (why: string | undefined) => void;
}

export interface Presence {
  /** To be called with every beat of the leases. */
  beat(): Promise<void>;
  leave(): Promise<void>;
  /** Whether there is room for a job just now, looked at anew: a disk may fill up between two beats. Without any, it beats. */
  hasRoom(): Promise<boolean>;
  /** Whether a worker of our name lives beside us (or on another machine, as far as we know). */
  hasDouble(): Promise<boolean>;
}

export function createPresence(deps: PresenceDeps): Presence {
  const { workers, name, labels, folder, minFreeBytes, onPause } = deps;
  const self: WorkerEntry = {
    name,
    labels,
    host: hostname(),
    pid: process.pid,
    start: processStart(process.pid),
  };
  let paused: string | undefined;
  let left = false;
  async function diskTrouble(): Promise<string | undefined> {
    const { bytes, files } = await freeRoom(folder);
    if (bytes < minFreeBytes) return `only ${Math.floor(bytes / 1024 ** 2)} MB free on its disk`;
    return files < MIN_FREE_FILES ? `only ${files} inodes free on its disk` : undefined;
  }
  async function beat(): Promise<void> {
    const drained = (await workers.isDrained(name)) ? 'told to drain' : undefined;
    const why = drained ?? (await diskTrouble()) ?? (await deps.trouble());
    // Looked at last: whoever left meanwhile takes no jobs again, and is here no more.
    if (left) return;
    if ((why === undefined) !== (paused === undefined)) onPause(why);
    paused = why;
    await workers.beat(paused === undefined ? self : { ...self, paused });
  }
  return {
    beat,
    async hasRoom() {
      if ((await diskTrouble()) === undefined) return true;
      await beat();
      return false;
    },
    async leave() {
      left = true;
      await workers.leave(name);
    },
    async hasDouble() {
      const other = (await workers.live()).find((worker) => worker.name === name);
      if (!other) return false;
      return other.host !== self.host || (other.pid !== self.pid && processStart(other.pid) === other.start);
    },
  };
}
