/**
 * The record in a job's folder that a later worker goes on from: the slot, and each task whose script was handed over.
 * Written without fsync: after a loss of power the containers are gone as well.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JobOwner } from '../executor.ts';
import type { Slot } from './slot.ts';

export type StartedTask = StartedStep | StartedService;

interface StartedStep {
  task: string;
  containerId: string;
  /** Number of the step's folder. */
  number: number;
  nonce: string;
  /** Digest of its image. */
  image?: string;
}

/** The engine keeps its output. */
interface StartedService {
  task: string;
  containerId: string;
  service: true;
}

/** What of a slot lives on; the rest is found on the engine. */
export type SlotRecord = Pick<Slot, 'id' | 'networkId' | 'holderId' | 'objects' | 'labels' | 'volumes'> & {
  owner: JobOwner;
};

const slotFile = (jobFolder: string) => join(jobFolder, 'docker', 'slot.json');
const startedFile = (jobFolder: string) => join(jobFolder, 'docker', 'started.jsonl');

export function recordSlot(slot: Slot, owner: JobOwner): void {
  const { id, networkId, holderId, objects, labels, volumes } = slot;
  const record: SlotRecord = { id, networkId, holderId, objects, labels, owner, ...(volumes ? { volumes } : {}) };
  writeFileSync(slotFile(slot.folder), JSON.stringify(record), { mode: 0o600 });
}

/** Undefined when the job never got so far, or was killed while this was written. */
export function readSlotRecord(jobFolder: string): SlotRecord | undefined {
  try {
    return JSON.parse(readFileSync(slotFile(jobFolder), 'utf8')) as SlotRecord;
  } catch {
    return undefined;
  }
}

export function recordStarted(jobFolder: string, started: StartedTask): void {
  appendFileSync(startedFile(jobFolder), `${JSON.stringify(started)}\n`, { mode: 0o600 });
}

/** Oldest first. */
export function readStarted(jobFolder: string): StartedTask[] {
  let text: string;
  try {
    text = readFileSync(startedFile(jobFolder), 'utf8');
  } catch {
    return []; // Nothing was started.
  }
  // A worker that was killed while it wrote leaves half a line: that script was never handed over.
  const whole = text.split('\n').slice(0, -1);
  return whole.map((line) => JSON.parse(line) as StartedTask);
}
