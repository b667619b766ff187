/** Finished runs as files, one each: what Redis no longer holds is read from here, and the indexes can be rebuilt from it. */
import { mkdir, open, readFile, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Plan } from './plan.ts';
import type { RunArchive } from './redis-store.ts';
import type { RunRecord } from './run.ts';
import { isRunId } from './run-id.ts';

export interface FileArchive extends RunArchive {
  write(record: RunRecord, plan: Plan): Promise<void>;
  /** Every archived run, in no order. */
  all(): AsyncIterable<{ record: RunRecord; plan: Plan }>;
}

/** `folder/<4 characters>/<id>.json`: one folder holds the runs of about half an hour. */
export function createArchive(folder: string): FileArchive {
  const fileOf = (id: string): string => join(folder, id.slice(0, 4), `${id}.json`);
  const read = async (id: string): Promise<{ record: RunRecord; plan: Plan } | undefined> => {
    if (!isRunId(id)) return undefined;
    try {
      return JSON.parse(await readFile(fileOf(id), 'utf8')) as { record: RunRecord; plan: Plan };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  return {
    read,
    async write(record, plan) {
      const file = fileOf(record.id);
      await mkdir(dirname(file), { recursive: true });
      const temporary = `${file}.${process.pid}.tmp`;
      const handle = await open(temporary, 'w');
      try {
        await handle.writeFile(JSON.stringify({ record, plan }));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
    },
    async *all() {
      for (const part of await readdir(folder).catch(() => [])) {
        for (const name of await readdir(join(folder, part))) {
          const found = name.endsWith('.json') ? await read(name.slice(0, -5)) : undefined;
          if (found) yield found;
        }
      }
    },
  };
}
