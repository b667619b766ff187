import { constants } from 'node:fs';
import { mkdir, open, readFile, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImpGemError, InputError, diskError } from '../errors.ts';
import { ifMissing } from './if-missing.ts';

const RUN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const APPEND = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW;
const ENDING = '.jsonl';

/** One artifact of a run. Times are ISO 8601. */
export interface ArtifactEntry {
  job: string;
  path: string;
  /** The name that the pipeline gave the group of files. */
  name?: string;
  size: number;
  sha256: string;
  createdAt: string;
  expiresAt?: string;
}

/**
 * The artifacts of each run, a line of JSON each in a file that only grows: any number of jobs, in any number of
 * processes, add to it without reading it first. The last line about a path counts.
 */
export interface Manifests {
  add(run: string, entries: ArtifactEntry[]): Promise<void>;
  /** By job and path; those that have expired included. */
  read(run: string): Promise<ArtifactEntry[]>;
  runs(): Promise<string[]>;
  remove(run: string): Promise<void>;
}

export function createManifests(folder: string): Manifests {
  const place = (run: string) => {
    if (!RUN.test(run)) throw new InputError('run-invalid', `${JSON.stringify(run.slice(0, 60))} is no id of a run.`);
    return join(folder, `${run}${ENDING}`);
  };

  const add: Manifests['add'] = async (run, entries) => {
    const path = place(run);
    if (entries.length === 0) return;
    // The line break in front shuts a line that a crash or a full disk left torn.
    const lines = Buffer.from(entries.map((entry) => `\n${JSON.stringify(entry)}\n`).join(''));
    try {
      await appendOnce(path, lines);
    } catch (error) {
      throw diskError('the list of artifacts', error);
    }
  };

  const read: Manifests['read'] = async (run) => {
    const text = await ifMissing('', readFile(place(run), 'utf8')).catch((error: unknown) => {
      throw diskError('the list of artifacts', error);
    });
    const entries = new Map<string, ArtifactEntry>();
    for (const entry of text.split('\n').map(parseLine)) {
      if (entry) entries.set(`${entry.job}/${entry.path}`, entry);
    }
    return [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  };

  const runs: Manifests['runs'] = async () => {
    const names = await ifMissing([], readdir(folder));
    return names.filter((name) => name.endsWith(ENDING)).map((name) => name.slice(0, -ENDING.length));
  };

  return { add, read, runs, remove: (run) => rm(place(run), { force: true }) };
}

/** One write call: what others append at the same time comes before or after it, never into it. */
async function appendOnce(path: string, bytes: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, APPEND, 0o640);
  try {
    const { bytesWritten } = await file.write(bytes);
    if (bytesWritten < bytes.length) throw new ImpGemError('disk-full', 'The disk of the data folder is full.');
    await file.sync();
  } finally {
    await file.close();
  }
  const folder = await open(dirname(path));
  await folder.sync().finally(() => folder.close());
}

function parseLine(line: string): ArtifactEntry | undefined {
  if (line === '') return undefined;
  try {
    return JSON.parse(line) as ArtifactEntry;
  } catch {
    // Torn: its `add` never settled, so nobody was told that it is there.
    return undefined;
  }
}
