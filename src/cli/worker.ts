import { Command } from 'commander';
import { readSettings } from '../config/read-settings.ts';
import { checkWorker } from './check-worker.ts';
import { runWorker } from './run-worker.ts';
import { startedUntil, untilSignal } from './until-signal.ts';

export function workerCommand(): Command {
  return new Command('worker')
    .description('take jobs from the queue and run them (needs REDIS_URL); any number, on any machines')
    .option('--check', 'run none: say whether the one of this name lives on this machine, and fail if not')
    .action(async ({ check = false }: { check?: boolean }) => {
      const settings = readSettings();
      if (check) {
        process.stdout.write(`${await checkWorker(settings)}\n`);
        return;
      }
      const signal = untilSignal(() => process.exit(130));
      const worker = await startedUntil(signal, runWorker(settings));
      await worker?.close();
      // Everything is closed; timers that libraries forgot would keep the process for ten seconds more.
      process.exit(0);
    });
}
