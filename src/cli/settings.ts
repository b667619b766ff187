import { Command } from 'commander';
import { settingsTable } from '../config/settings-table.ts';

export function settingsCommand(): Command {
  return new Command('settings').description('every setting, as a table').action(() => {
    process.stdout.write(settingsTable());
  });
}
