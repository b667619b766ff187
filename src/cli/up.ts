import { Command } from 'commander';
import { readSettings } from '../config/read-settings.ts';
import { runUp } from './run-up.ts';
import { aborted, untilSignal } from './until-signal.ts';

export function upCommand(): Command {
  return new Command('up')
    .description('server and worker on this machine, with a private Redis unless REDIS_URL is set')
    .action(async () => {
      const settings = readSettings();
      let stopNow: () => void = () => process.exit(130);
      const signal = untilSignal(() => stopNow());
      const up = await runUp(settings, (line) => process.stderr.write(`${line}\n`));
      stopNow = () => up.kill();
      await aborted(signal);
      await up.close();
    });
}
