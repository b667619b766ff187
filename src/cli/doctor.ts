import { Command } from 'commander';
import { readSettings } from '../config/read-settings.ts';
import type { Settings } from '../config/schema.ts';
import { ImpGemError } from '../errors.ts';
import { checkEngine, ENGINE } from './doctor/check-engine.ts';
import { checkPrograms } from './doctor/check-programs.ts';
import { checkServices } from './doctor/check-services.ts';
import type { Finding } from './doctor/finding.ts';
import { EXIT } from './exit-codes.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('looks at this machine and at all that is reached from it: what is wrong, and what to do')
    .option('--json', 'findings as JSON')
    .addHelpText(
      'after',
      `\nExit code: 0 it will work, 1 something that failed is in the way, 64 settings that are not valid.`,
    )
    .action(async ({ json = false }: { json?: boolean }) => {
      const { findings, code } = await look(json);
      const text = json ? `${JSON.stringify({ ok: code === EXIT.passed, findings }, null, 2)}\n` : render(findings);
      // A call to an engine that hangs would hold the process.
      process.stdout.write(text, () => process.exit(code));
    });
}

async function look(json: boolean): Promise<{ findings: Finding[]; code: number }> {
  let settings: Settings;
  try {
    settings = readSettings();
  } catch (error) {
    // For people it is a sentence, as with every command; who reads JSON wants JSON.
    if (!json || !(error instanceof ImpGemError)) throw error;
    return { findings: [unreadable(error)], code: EXIT.usage };
  }
  const [programs, engine, services] = await Promise.all([
    checkPrograms(settings),
    checkEngine(settings),
    checkServices(settings),
  ]);
  const found = [...programs, ...engine.findings, ...services];
  const findings = [...found, whereStepsRun(settings, found, !engine.isTaken)];
  return { findings, code: findings.some(({ state }) => state === 'failed') ? EXIT.failed : EXIT.passed };
}

function unreadable(error: ImpGemError): Finding {
  const advice = 'Correct them in the environment or in .env; `impgem settings` explains each.';
  return { what: 'settings', state: 'failed', message: error.message, advice };
}

/** Neither engine nor bubblewrap is needed by itself: what counts is the one that a worker would choose. */
function whereStepsRun(settings: Settings, findings: Finding[], inSandbox: boolean): Finding {
  const what = 'steps';
  const chosen = findings.find((one) => one.what === (inSandbox ? 'bubblewrap' : ENGINE));
  const place = inSandbox ? "in the sandbox, on this machine's own tools" : 'in containers';
  const message = `run ${place} (IMPGEM_EXECUTOR=${settings.IMPGEM_EXECUTOR})`;
  if (chosen?.state === 'ok' || chosen?.state === 'warning') return { what, state: 'ok', message };
  const advice = inSandbox
    ? 'Start a Docker engine, or install bubblewrap (apt-get install bubblewrap).'
    : `See ${ENGINE}: nothing else is taken in its place.`;
  return { what, state: 'failed', message: 'have nothing to run in', advice };
}

const MARKS: Record<Finding['state'], string> = {
  ok: 'ok     ',
  warning: 'warning',
  failed: 'FAILED ',
  skipped: '-      ',
};

function render(findings: Finding[]): string {
  const width = Math.max(...findings.map(({ what }) => what.length));
  return findings
    .map((one) => {
      const line = `${MARKS[one.state]}  ${one.what.padEnd(width)}  ${one.message}\n`;
      return one.state === 'ok' ? line : `${line}${' '.repeat(width + 11)}-> ${one.advice}\n`;
    })
    .join('');
}
