/**
 * `npm run bench -- chaos [--seed N] [--minutes M] [--pushes P] [--strikes S] [--sandbox] [--keep=DIR] [--verbose]`: in full 300 pushes and 150 kills;
 * with fewer minutes, fewer of both. `--sandbox`: without docker workers and their engine, for a machine that has none. `--keep`: when
 * there are faults, the data folder and all lines of servers and workers go there.
 */
import { numberArgument, textArgument } from './arguments.ts';
import { runChaos } from './chaos/run-chaos.ts';
import { type Figures, printTable } from './report.ts';

/** Of trouble, in the full form; quiet and checks come after it. */
const FULL_MINUTES = 11;
const PUSHES = 300;
const STRIKES = 215;
const KILLS = 150;
/** Of the quarter of an hour that it may take. */
const WHOLE_MS = 880_000;

export async function benchChaos(): Promise<Figures> {
  const seed = numberArgument('--seed') ?? Math.floor(Math.random() * 2 ** 31);
  const minutes = numberArgument('--minutes') ?? FULL_MINUTES;
  const pushes = numberArgument('--pushes');
  const strikes = numberArgument('--strikes');
  const keep = textArgument('--keep');
  const share = minutes / FULL_MINUTES;
  process.stderr.write(`chaos: seed ${seed}\n`);
  const report = await runChaos({
    seed,
    pushes: pushes ?? Math.round(PUSHES * share),
    strikes: strikes ?? Math.round(STRIKES * share),
    troubleMs: minutes * 60_000,
    quietMs: 180_000,
    wholeMs: WHOLE_MS,
    ...(keep === undefined ? {} : { keep }),
    docker: !process.argv.includes('--sandbox'),
    say: (line) => {
      if (process.argv.includes('--verbose'))
        process.stderr.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
    },
  });
  const count = (kind: string): number =>
    Object.entries(report.trouble)
      .filter(([what]) => what.startsWith(kind))
      .reduce((sum, [, times]) => sum + times, 0);
  const kills = count('kill');
  const isFull = share === 1 && pushes === undefined && strikes === undefined;
  for (const fault of report.faults) process.stderr.write(`FAULT ${fault}\n`);
  printTable(`chaos, seed ${seed}: ${JSON.stringify(report.trouble)}`, [
    { what: 'pushes accepted', value: report.accepted, unit: `of ${report.sent}` },
    { what: 'deliveries sent twice', value: report.doubled, unit: '' },
    { what: 'deliveries out of order', value: report.reordered, unit: '' },
    { what: 'kills -9', value: kills, unit: '', ...(isFull ? { bar: `>= ${KILLS}`, ok: kills >= KILLS } : {}) },
    { what: 'freezes', value: count('freeze'), unit: '' },
    { what: 'quiet after', value: report.quietAfterMs / 1000, unit: 's' },
    { what: 'whole', value: report.seconds, unit: 's', bar: '<= 900 s', ok: report.seconds <= 900 },
    { what: 'faults', value: report.faults.length, unit: '', bar: '0', ok: report.faults.length === 0 },
  ]);
  return { seed, accepted: report.accepted, kills, faults: report.faults.length, seconds: report.seconds };
}
