/** `impgem reindex`: rebuilds the lists of finished runs in Redis from the archive alone, after Redis lost its data. */
import { Command } from 'commander';
import { readSettings } from '../config/read-settings.ts';
import { checkRedis } from '../queue/connection.ts';
import { createArchive } from '../runs/archive.ts';
import { createRedisRunStore } from '../runs/redis-store.ts';
import type { RunRecord } from '../runs/run.ts';
import { dataFolder } from './data-folder.ts';
import { createLogger } from './logger.ts';
import { openRedis } from './open-runs.ts';

/** Runs that are put into Redis at once. */
const BATCH = 500;

export function reindexCommand(): Command {
  return new Command('reindex')
    .description('rebuild the lists of finished runs in Redis from the archive in the data folder (needs REDIS_URL)')
    .action(async () => {
      const settings = readSettings();
      const log = createLogger('reindex', settings);
      const redis = openRedis(settings, 'patient', log);
      try {
        await checkRedis(redis);
        const archive = createArchive(dataFolder(settings).runs, (message) => log.warn(message));
        const store = createRedisRunStore(redis, archive);
        let count = 0;
        let batch: RunRecord[] = [];
        const put = async (): Promise<void> => {
          await store.reindex(batch);
          count += batch.length;
          batch = [];
        };
        for await (const record of archive.all()) if (batch.push(record) === BATCH) await put();
        await put();
        process.stdout.write(`${count} runs are listed again\n`);
      } finally {
        redis.disconnect();
      }
    });
}
