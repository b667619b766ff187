/** A job's folder on the worker's disk, and the journal in it by which a later worker carries the job on. */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobOwner } from '../executors/executor.ts';

export interface JobFolder {
  path: string;
  workspace: string;
  home: string;
  journal: Journal;
}

/**
 * Small facts by name, each in a file of its own that is replaced whole. It outlives a kill of the worker, not a loss of
 * power: then the executor's tasks are gone as well, and the job starts over.
 */
interface Journal {
  save(name: string, fact: unknown): void;
  load(name: string): unknown;
}

/** `RUN-JOB-ATTEMPT`: ids hold letters, digits, `_` and `-` only. */
export function jobFolderName(owner: JobOwner): string {
  return `${owner.run}-${owner.job}-${owner.attempt}`;
}

/**
 * Synchronous, as the journal is: a first log line waits for it. `adopts`: whether a later worker can carry the job on;
 * if not, nothing is written into the journal.
 */
export function makeJobFolder(root: string, owner: JobOwner, adopts: boolean): JobFolder {
  const folder = jobFolderAt(root, owner, adopts);
  mkdirSync(root, { recursive: true, mode: 0o700 });
  mkdirSync(folder.path, { mode: 0o700 });
  for (const part of [folder.workspace, folder.home]) mkdirSync(part);
  return folder;
}

/** The folder that an earlier worker made on this disk, if any. */
export function findJobFolder(root: string, owner: JobOwner, adopts: boolean): JobFolder | undefined {
  const folder = jobFolderAt(root, owner, adopts);
  return statSync(folder.path, { throwIfNoEntry: false }) && folder;
}

function jobFolderAt(root: string, owner: JobOwner, adopts: boolean): JobFolder {
  const path = join(root, jobFolderName(owner));
  return {
    path,
    workspace: join(path, 'workspace'),
    home: join(path, 'home'),
    journal: adopts ? createJournal(join(path, 'runner')) : NO_JOURNAL,
  };
}

const NO_JOURNAL: Journal = { save: () => undefined, load: () => undefined };

function createJournal(folder: string): Journal {
  return {
    // Synchronous: it stands between two steps, and a small write without fsync is quicker than a turn of the event loop.
    save: (name, fact) => {
      const file = join(folder, `${name}.json`);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      writeFileSync(`${file}.new`, JSON.stringify(fact), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    },
    load: (name) => {
      try {
        return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as unknown;
      } catch (error) {
        // Half of a file is what a loss of power leaves of it.
        if (isCode(error, 'ENOENT') || error instanceof SyntaxError) return undefined;
        throw error;
      }
    },
  };
}

/**
 * Removes the folders of jobs that nobody owns; gives how many. Called at start and now and then. One that cannot be
 * removed is in the way of no other: the first such error is thrown when all had their turn.
 */
export async function reapJobFolders(
  root: string,
  isLive: (owner: JobOwner) => Promise<boolean>,
  remove: (folder: string) => Promise<void>,
): Promise<number> {
  let names: string[];
  try {
    names = await readdir(root);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return 0;
    throw error;
  }
  let removed = 0;
  const failures: unknown[] = [];
  for (const name of names) {
    const owner = ownerOf(name);
    // Asked after the folder was seen, so that its run is known.
    if (owner === undefined || (await isLive(owner))) continue;
    await remove(join(root, name)).then(
      () => removed++,
      (error: unknown) => failures.push(error),
    );
  }
  if (failures.length > 0) throw failures[0];
  return removed;
}

/** Ids of runs hold no dash, those of jobs may. Undefined for a folder that is no job's. */
function ownerOf(folderName: string): JobOwner | undefined {
  const [, run, job, attempt] = /^([^-]+)-(.+)-(\d+)$/.exec(folderName) ?? [];
  return run === undefined || job === undefined ? undefined : { run, job, attempt: Number(attempt) };
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
