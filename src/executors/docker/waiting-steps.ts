/** The containers of one job that wait for their turn: a bounded look-ahead over the tasks that are known to come. */
import type { Task, UpcomingTask } from '../executor.ts';
import { LABEL } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import type { Note } from './images.ts';
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
  /** Settles when all that was expected waits; rejects when one of them could not be made. */
  settled(): Promise<void>;
  /** Closes what waits; the containers themselves belong to the slot. */
  drop(): Promise<void>;
}

interface Entry {
  needs: StepNeeds;
  step: Promise<WaitingStep>;
}

/** `note`: hears of images, once each. */
export function createWaitingSteps(parts: ExecutorParts, slot: Slot, image: string, note: Note): WaitingSteps {
  const entries: Entry[] = [];
  let later: NodeJS.Timeout | undefined;
  let expected: UpcomingTask[] = [];
  const starting = new Set<Promise<WaitingStep>>();
  const caps = parts.options.limits;
  const images = new Map<string, Promise<void>>();

  async function imageReady(name: string): Promise<void> {
    const digest = await parts.images.ensure(name, note);
    note(`image ${name} is ${digest}`);
  }

  function add(task: UpcomingTask | undefined, needs: StepNeeds): Entry {
    const labels = task === undefined ? {} : { [LABEL.step]: task.id };
    const ready = images.get(needs.image) ?? imageReady(needs.image);
    images.set(needs.image, ready);
    const step = ready.then(() => startWaiting(parts, slot, needs, labels));
    starting.add(step);
    // Whoever takes it hears of a failure.
    step.catch(() => undefined).finally(() => starting.delete(step));
    const entry = { needs, step };
    entries.push(entry);
    return entry;
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
      const entry = entries.find((candidate) => sameNeeds(candidate.needs, needs)) ?? add(task, needs);
      entries.splice(entries.indexOf(entry), 1);
      // The hint may have been given before this task was taken.
      expected = expected.filter((other) => other.id !== task.id);
      if (entries.length < HURRY_BELOW) topUp();
      else later ??= setTimeout(topUpLater, HEAD_START_MS).unref();
      return entry.step;
    },
    async settled() {
      await Promise.all(entries.map((entry) => entry.step));
    },
    async drop() {
      expected = [];
      clearTimeout(later);
      await Promise.allSettled(starting); // Those that were taken, too: none may appear after this.
      const dropped = await Promise.allSettled(entries.splice(0).map((entry) => entry.step));
      for (const result of dropped) if (result.status === 'fulfilled') await letGo(result.value);
    },
  };
}
