/** Finished runs as files, one each: what Redis no longer holds is read from here, and the indexes can be rebuilt from it. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { InfrastructureError, diskError, messageOf, systemCode } from '../errors.ts';
import { readFirstLine } from './first-line.ts';
import type { Plan } from './plan.ts';
import type { RunArchive } from './redis-store.ts';
import type { RunRecord } from './run.ts';
import { isRunId } from './run-id.ts';
import { createUsedLast } from './used-last.ts';

/** Of records in memory, as JSON: those that lists showed last. */
const RECENT_SIZE = 8 * 1024 ** 2;

export interface FileArchive extends RunArchive {
  write(record: RunRecord, plan: Plan): Promise<void>;
  /** Ids of all archived runs, the oldest first. */
  ids(): AsyncIterable<string>;
  /** Every archived run, the oldest first. */
  all(): AsyncIterable<RunRecord>;
  /** Idempotent. */
  remove(id: string): Promise<void>;
}

/**
 * `folder/<4 characters>/<id>.json`: one folder holds the runs of about half an hour. Two lines, the record and the plan:
 * a list reads the first alone. `onDamaged` hears of each file that is no record any more: such a run is left out then.
 * Without it that is InfrastructureError `archive-damaged`.
 */
export function createArchive(folder: string, onDamaged: (message: string) => void = refuse): FileArchive {
  const fileOf = (id: string): string => join(folder, id.slice(0, 4), `${id}.json`);
  const parse = (id: string, line: string | undefined): unknown => {
    if (line === undefined) return undefined;
    try {
      return JSON.parse(line);
    } catch (error) {
      onDamaged(`${fileOf(id)} is damaged, and its run is left out: restore or remove it (${messageOf(error)})`);
      return undefined;
    }
  };
  // As text: many small objects that live on make every collection of garbage slower, and with it every list.
  const readLately = createUsedLast<string>(RECENT_SIZE);
  const record = async (id: string): Promise<RunRecord | undefined> => {
    if (!isRunId(id)) return undefined;
    const line = await readFirstLine(fileOf(id));
    const found = parse(id, line) as RunRecord | undefined;
    if (found && line !== undefined) readLately.put(id, line, line.length);
    return found;
  };
  const ids: FileArchive['ids'] = async function* () {
    for (const part of (await readdir(folder).catch(whenMissing<string[]>([]))).sort())
      for (const name of (await readdir(join(folder, part)).catch(whenMissing<string[]>([]))).sort())
        if (name.endsWith('.json') && isRunId(name.slice(0, -5))) yield name.slice(0, -5);
  };
  return {
    record,
    recent: (id) => parse(id, readLately.get(id)) as RunRecord | undefined,
    async plan(id) {
      if (!isRunId(id)) return undefined;
      const text = await readFile(fileOf(id), 'utf8').catch(whenMissing(undefined));
      return parse(id, text?.split('\n')[1]) as Plan | undefined;
    },
    async write(record, plan) {
      const file = fileOf(record.id);
      await mkdir(dirname(file), { recursive: true });
      // Another server may write the same run at this moment, in a container with the same process id.
      const temporary = `${file}.${randomUUID()}.tmp`;
      try {
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
        await rm(temporary, { force: true });
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

function refuse(message: string): never {
  throw new InfrastructureError('archive-damaged', message);
}

function whenMissing<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (systemCode(error) === 'ENOENT') return instead;
    throw error;
  };
}
