/** `npm run bench -- NAME... [--json]`: a readable table on stderr and, with --json, one JSON object on stdout. Exit code 1: some bar was missed. */
import { countMissed, type Figures } from './report.ts';

const BENCHES: Record<string, () => Promise<() => Promise<Figures>>> = {
  intake: async () => (await import('./intake.ts')).benchIntake,
  'first-line': async () => (await import('./first-line.ts')).benchFirstLine,
  steps: async () => (await import('./steps.ts')).benchSteps,
  gap: async () => (await import('./gap.ts')).benchGap,
  'ten-steps': async () => (await import('./ten-steps.ts')).benchTenSteps,
  log: async () => (await import('./log.ts')).benchLog,
  'log-store': async () => (await import('./log-store.ts')).benchLogStore,
  fair: async () => (await import('./fair.ts')).benchFair,
  cancel: async () => (await import('./cancel.ts')).benchCancel,
  idle: async () => (await import('./idle.ts')).benchIdle,
  throughput: async () => (await import('./throughput.ts')).benchThroughput,
  'intake-chaos': async () => (await import('./intake-chaos.ts')).benchIntakeChaos,
  history: async () => (await import('./history.ts')).benchHistory,
  chaos: async () => (await import('./chaos.ts')).benchChaos,
  kill: async () => (await import('./kill.ts')).benchKill,
  lint: async () => (await import('./lint.ts')).benchLint,
};

// Numbers belong to an option before them.
const names = process.argv.slice(2).filter((arg) => !arg.startsWith('--') && !/^\d/.test(arg));
const unknown = names.filter((name) => !Object.hasOwn(BENCHES, name));
if (names.length === 0 || unknown.length > 0) {
  process.stderr.write(`usage: npm run bench -- NAME... [--json]\nnames: ${Object.keys(BENCHES).join(', ')}\n`);
  process.exit(64);
}
const all: Record<string, Figures> = {};
for (const name of names) {
  const load = BENCHES[name];
  if (load) all[name] = await (await load())();
}
if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(all)}\n`);
process.exit(countMissed() > 0 ? 1 : 0);
