/** `impgem server`: webhooks, API, pages, planner, statuses and reconciler over one Redis. Composition only. */
import { Command } from 'commander';
import type { Settings } from '../config/schema.ts';
import { readSettings } from '../config/read-settings.ts';
import { runServer } from './run-server.ts';
import { startedUntil, untilSignal } from './until-signal.ts';

export function serverCommand(): Command {
  return new Command('server')
    .description('receive webhooks, plan runs, serve the API and the pages (needs REDIS_URL)')
    .action(async () => {
      const settings: Settings = readSettings();
      const signal = untilSignal(() => process.exit(130));
      const server = await startedUntil(signal, runServer(settings));
      await server?.close();
      // Everything is closed; timers that libraries forgot would keep the process for ten seconds more.
      process.exit(0);
    });
}
