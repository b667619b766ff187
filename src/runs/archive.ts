/** Finished runs as files, one each: what Redis no longer holds is read from here, and the indexes can be rebuilt from it. */
import { randomUUID } from 'node:crypto';
import { lstat, mkdir, open, readFile, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { InfrastructureError, diskError, messageOf, systemCode, whyUnreadable } from '../errors.ts';
import { readFirstLine } from './first-line.ts';
import type { Plan } from './plan.ts';
import type { RunArchive } from './redis-store.ts';
import { type RunRecord, STATES, isFinal } from './run.ts';
import { isRunId } from './run-id.ts';
import { createUsedLast } from './used-last.ts';

/** Of records in memory, as JSON: those that lists showed last. */
const RECENT_SIZE = 8 * 1024 ** 2;
/** What the ids of runs begin with. Other names in the folder are not ours: a `lost+found`, a note of whoever runs this. */
const PART = /^[0-9a-z]{4}$/;
const FINAL_STATES: readonly unknown[] = STATES.filter(isFinal);

export interface FileArchive extends RunArchive {
  write(record: RunRecord, plan: Plan): Promise<void>;
  /** Ids of all archived runs, the oldest first. What cannot be read is told of and left out. */
  ids(): AsyncIterable<string>;
  /** Every archived run, the oldest first. */
  all(): AsyncIterable<RunRecord>;
  /** Whether the run has a file here, be it one that cannot be read; true also where that cannot be said. */
  has(id: string): Promise<boolean>;
  /** Idempotent. */
  remove(id: string): Promise<void>;
}

/**
 * `folder/<4 characters>/<id>.json`: one folder holds the runs of about half an hour. Two lines, the record and the plan:
 * a list reads the first alone. `onDamaged` hears of each file that is no record any more, and of what cannot be read: such
 * a run is left out then. Without it that is InfrastructureError `archive-damaged`.
 */
export function createArchive(folder: string, onDamaged: (message: string) => void = refuse): FileArchive {
  const fileOf = (id: string): string => join(folder, id.slice(0, 4), `${id}.json`);
  const damaged = (id: string, why: string): void =>
    onDamaged(`${fileOf(id)} is damaged, and its run is left out: restore or remove it (${why})`);
  const parse = (id: string, line: string | undefined): unknown => {
    if (line === undefined) return undefined;
    try {
      return JSON.parse(line);
    } catch (error) {
      damaged(id, messageOf(error));
      return undefined;
    }
  };
  /** Nothing, when it is not there; what is of the wrong kind or out of reach must not keep all the others from being read. */
  const whenUnread =
    <T>(path: string, instead: T) =>
    (error: unknown): T => {
      const code = systemCode(error);
      // This process has too much open: the disk is not what is wrong.
      if (code === '' || code === 'EMFILE' || code === 'ENFILE') throw error;
      if (code !== 'ENOENT' && code !== 'ENOTDIR')
        onDamaged(`${path} ${whyUnreadable(error)}, and is left out: mend or remove it`);
      return instead;
    };
  // As text: many small objects that live on make every collection of garbage slower, and with it every list.
  const readLately = createUsedLast<string>(RECENT_SIZE);
  const record = async (id: string): Promise<RunRecord | undefined> => {
    if (!isRunId(id)) return undefined;
    const line = await readFirstLine(fileOf(id)).catch(whenUnread(fileOf(id), undefined));
    const found = parse(id, line);
    if (line === undefined || found === undefined) return undefined;
    if (!isFinishedRun(found, id)) {
      damaged(id, 'its first line is not this run, finished');
      return undefined;
    }
    readLately.put(id, line, line.length);
    return found;
  };
  const namesIn = async (path: string): Promise<string[]> =>
    (await readdir(path).catch(whenUnread<string[]>(path, []))).sort();
  const ids: FileArchive['ids'] = async function* () {
    // The folder of all must be readable: without it there is not one run.
    for (const part of (await readdir(folder).catch(whenMissing<string[]>([]))).sort())
      if (PART.test(part))
        for (const name of await namesIn(join(folder, part)))
          if (name.endsWith('.json') && isRunId(name.slice(0, -5))) yield name.slice(0, -5);
  };
  return {
    record,
    recent: (id) => parse(id, readLately.get(id)) as RunRecord | undefined,
    async plan(id) {
      if (!isRunId(id)) return undefined;
      const text = await readFile(fileOf(id), 'utf8').catch(whenUnread(fileOf(id), undefined));
      return parse(id, text?.split('\n')[1]) as Plan | undefined;
    },
    async write(record, plan) {
      const file = fileOf(record.id);
      // Another server may write the same run at this moment, in a container with the same process id.
      const temporary = `${file}.${randomUUID()}.tmp`;
      try {
        await mkdir(dirname(file), { recursive: true });
        const handle = await open(temporary, 'w');
        try {
          await handle.writeFile(`${JSON.stringify(record)}\n${JSON.stringify(plan)}\n`);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(temporary, file);
        // The run may leave Redis after this: its name in the folder must outlast a loss of power as well.
        const part = await open(dirname(file));
        await part.sync().finally(() => part.close());
      } catch (error) {
        await rm(temporary, { force: true }).catch(() => undefined); // What stands in its way is the first error's to say.
        throw diskError('the archive of runs', error);
      }
    },
    ids,
    async *all() {
      for await (const id of ids()) {
        const found = await record(id);
        if (found) yield found;
      }
    },
    has: (id) =>
      lstat(fileOf(id)).then(
        () => true,
        (error: unknown) => systemCode(error) !== 'ENOENT' && systemCode(error) !== 'ENOTDIR',
      ),
    async remove(id) {
      if (!isRunId(id)) return;
      readLately.drop(id);
      const part = dirname(fileOf(id));
      // What a crash left half-written of it goes as well.
      for (const name of await readdir(part).catch(whenMissing<string[]>([])))
        if (name.startsWith(`${id}.`)) await rm(join(part, name), { force: true });
      await rmdir(part).catch(() => undefined); // Other runs are in it: it stays.
    },
  };
}

/** Only what lists, indexes and a sweep go by: a list asks for every archived run that it shows. */
function isFinishedRun(found: unknown, id: string): found is RunRecord {
  if (typeof found !== 'object' || found === null) return false;
  const run: Partial<Record<keyof RunRecord, unknown>> = found;
  return (
    run.id === id &&
    typeof run.repository === 'string' &&
    Number.isSafeInteger(run.number) &&
    Array.isArray(run.jobs) &&
    FINAL_STATES.includes(run.state)
  );
}

function refuse(message: string): never {
  throw new InfrastructureError('archive-damaged', message);
}

function whenMissing<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (systemCode(error) === 'ENOENT') return instead;
    throw error;
  };
}
