/** The containers of one job that wait for their turn: a bounded look-ahead over the tasks that are known to come. */
import { ImpGemError } from '../../errors.ts';
import type { Task, UpcomingTask } from '../executor.ts';
import { LABEL } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import type { JobImages } from './job-images.ts';
import type { Slot } from './slot.ts';
import { letGo, needsOf, sameNeeds, startWaiting, type StepNeeds, type WaitingStep } from './step-container.ts';

/** Enough that steps of a few milliseconds do not outrun the engine, few enough that a failed job wastes little. */
const LOOK_AHEAD = 4;
/** The step that begins is not to share the processors with the start of a later one, unless that one is short of time. */
const HEAD_START_MS = 30;
const HURRY_BELOW = 2;

export interface WaitingSteps {
  /** Makes containers for the first of these tasks, unless one that fits waits already. */
  expect(tasks: UpcomingTask[]): void;
  /** A container for this task: one that waits, or a new one. */
  take(task: Task): Promise<WaitingStep>;
  /** Whether one that waited ended by itself, or was cut off from us: with its engine, most likely. */
  lost(): boolean;
  /** Settles when all that was expected waits; rejects when one of them could not be made. */
  settled(): Promise<void>;
  /** Closes what waits; the containers themselves belong to the slot. */
  drop(): Promise<void>;
}

interface Entry {
  /** The task that its label names. */
  id: string | undefined;
  needs: StepNeeds;
  step: Promise<WaitingStep>;
  /** Once it waits. */
  made?: WaitingStep;
}

export function createWaitingSteps(parts: ExecutorParts, slot: Slot, image: string, images: JobImages): WaitingSteps {
  const entries: Entry[] = [];
  let later: NodeJS.Timeout | undefined;
  let expected: UpcomingTask[] = [];
  let dropped = false;
  let lost = false;
  /** Without those that wait for their image: a pull may take minutes. */
  const starting = new Set<Promise<unknown>>();
  const caps = parts.options.limits;
  /** Images of which the job's log has heard, once each. */
  const told = new Map<string, Promise<void>>();

  /** A failed pull is tried again for the next step that wants it. */
  function imageReady(name: string): Promise<void> {
    const ready = told.get(name) ?? tell(name);
    told.set(name, ready);
    ready.catch(() => told.delete(name));
    return ready;
  }

  async function tell(name: string): Promise<void> {
    const digest = await images.ensure(name);
    images.note(`image ${name} is ${digest}`);
  }

  function add(task: UpcomingTask | undefined, needs: StepNeeds): Entry {
    const labels = task === undefined ? {} : { [LABEL.step]: task.id };
    const step = imageReady(needs.image).then(() => start(entry, labels));
    const entry: Entry = { id: task?.id, needs, step };
    entries.push(entry);
    // Whoever takes it hears of a failure; if nobody has, the next that comes gets a new one.
    step.catch(() => forget(entry));
    return entry;
  }

  async function start(entry: Entry, labels: Record<string, string>): Promise<WaitingStep> {
    if (dropped) throw new ImpGemError('sandbox-closed', 'The job is over; it takes no more steps');
    const starts = startWaiting(parts, slot, entry.needs, labels);
    starting.add(starts);
    try {
      const made = await starts;
      entry.made = made;
      const onEnd = (): void => {
        if (!forget(entry)) return;
        lost = true;
        void letGo(made);
      };
      made.end.signal.addEventListener('abort', onEnd, { once: true });
      // Its engine may come back with the container alive (live-restore), but no script gets there any more.
      made.stdio.once('close', onEnd);
      return made;
    } finally {
      starting.delete(starts);
    }
  }

  /** False: somebody has it. */
  function forget(entry: Entry): boolean {
    const at = entries.indexOf(entry);
    if (at >= 0) entries.splice(at, 1);
    return at >= 0;
  }

  function topUp(): void {
    const free = [...entries];
    for (const task of expected.slice(0, LOOK_AHEAD)) {
      const needs = needsOf(task, image, caps);
      const at = free.findIndex((entry) => sameNeeds(entry.needs, needs));
      if (at >= 0) free.splice(at, 1);
      else add(task, needs);
    }
  }

  function topUpLater(): void {
    later = undefined;
    topUp();
  }

  return {
    expect(tasks) {
      expected = tasks;
      if (!later) topUp();
    },
    async take(task) {
      const needs = needsOf(task, image, caps);
      const fitting = entries.filter((candidate) => sameNeeds(candidate.needs, needs));
      const entry = fitting.find(({ id }) => id === task.id) ?? fitting[0] ?? add(task, needs);
      forget(entry);
      // The hint may have been given before this task was taken.
      expected = expected.filter((other) => other.id !== task.id);
      if (entries.length < HURRY_BELOW) topUp();
      else later ??= setTimeout(topUpLater, HEAD_START_MS).unref();
      return entry.step;
    },
    lost: () => lost,
    async settled() {
      await Promise.all(entries.map((entry) => entry.step));
    },
    async drop() {
      dropped = true;
      expected = [];
      clearTimeout(later);
      await Promise.allSettled(starting); // Those that were taken, too: none may appear after this.
      for (const { made } of entries.splice(0)) if (made) await letGo(made);
    },
  };
}
