#!/usr/bin/env node
/** Wires the commands. Each is loaded only when it is asked for: an idle worker must not carry the parser of pipelines. */
import { Command, CommanderError } from 'commander';
import { ImpGemError, messageOf } from '../errors.ts';
import { EXIT } from './exit-codes.ts';

// What a library should do otherwise is nothing that whoever runs this can change.
process.noDeprecation = true;

const COMMANDS: Record<string, () => Promise<Command>> = {
  up: async () => (await import('./up.ts')).upCommand(),
  run: async () => (await import('./run.ts')).runCommand(),
  lint: async () => (await import('./lint.ts')).lintCommand(),
  plan: async () => (await import('./plan.ts')).planCommand(),
  server: async () => (await import('./server.ts')).serverCommand(),
  worker: async () => (await import('./worker.ts')).workerCommand(),
  demo: async () => (await import('./demo.ts')).demoCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  reindex: async () => (await import('./reindex.ts')).reindexCommand(),
  settings: async () => (await import('./settings.ts')).settingsCommand(),
};

async function main(args: string[]): Promise<void> {
  const program = new Command('impgem')
    .description('A self-hosted, git-triggered CI forge.')
    .version(process.env['IMPGEM_VERSION'] ?? '0.1.0')
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nExamples:\n  impgem up            everything on this machine, with a private Redis\n  impgem run           the pipeline of this checkout, here and now\n  impgem lint          what is wrong with .impgem.yml\n',
    );
  const wanted = args.find((arg) => !arg.startsWith('-'));
  const load = wanted === undefined ? undefined : COMMANDS[wanted];
  const commands = await Promise.all((load ? [load] : Object.values(COMMANDS)).map((one) => one()));
  for (const command of commands) program.addCommand(command);
  for (const command of [program, ...commands]) command.exitOverride();
  await program.parseAsync(args, { from: 'user' });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.passed : EXIT.usage;
  else {
    process.stderr.write(`impgem: ${messageOf(error)}\n`);
    if (!(error instanceof ImpGemError) && process.env['IMPGEM_DEBUG'])
      process.stderr.write(`${String((error as Error).stack)}\n`);
    const usage = error instanceof ImpGemError && error.code === 'settings-invalid';
    // What was built before the failure (connections, timers) would hold a process that serves nobody.
    process.stderr.write('', () => process.exit(usage ? EXIT.usage : EXIT.infrastructure));
  }
}
