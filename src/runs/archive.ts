/** Finished runs as files, one each: what Redis no longer holds is read from here, and the indexes can be rebuilt from it. */
import { mkdir, open, readFile, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Plan } from './plan.ts';
import type { RunArchive } from './redis-store.ts';
import type { RunRecord } from './run.ts';
import { isRunId } from './run-id.ts';

export interface FileArchive extends RunArchive {
  write(record: RunRecord, plan: Plan): Promise<void>;
  /** Every archived run, the oldest first. */
  all(): AsyncIterable<RunRecord>;
}

/**
 * `folder/<4 characters>/<id>.json`: one folder holds the runs of about half an hour. Two lines, the record and the plan:
 * a list reads the first alone.
 */
export function createArchive(folder: string): FileArchive {
  const fileOf = (id: string): string => join(folder, id.slice(0, 4), `${id}.json`);
  const lines = async (id: string): Promise<string[]> => {
    if (!isRunId(id)) return [];
    try {
      return (await readFile(fileOf(id), 'utf8')).split('\n');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  };
  const record = async (id: string): Promise<RunRecord | undefined> => {
    const [first] = await lines(id);
    return first === undefined ? undefined : (JSON.parse(first) as RunRecord);
  };
  return {
    record,
    async plan(id) {
      const [, second] = await lines(id);
      return second === undefined ? undefined : (JSON.parse(second) as Plan);
    },
    async write(record, plan) {
      const file = fileOf(record.id);
      await mkdir(dirname(file), { recursive: true });
      const temporary = `${file}.${process.pid}.tmp`;
      const handle = await open(temporary, 'w');
      try {
        await handle.writeFile(`${JSON.stringify(record)}\n${JSON.stringify(plan)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
    },
    async *all() {
      for (const part of (await readdir(folder).catch(() => [])).sort()) {
        for (const name of (await readdir(join(folder, part))).sort()) {
          const found = name.endsWith('.json') ? await record(name.slice(0, -5)) : undefined;
          if (found) yield found;
        }
      }
    },
  };
}
