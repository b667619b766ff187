import { Command } from 'commander';
import { readSettings } from '../config/read-settings.ts';
import { checkEngine } from './doctor/check-engine.ts';
import { checkPrograms } from './doctor/check-programs.ts';
import { checkServices } from './doctor/check-services.ts';
import type { Finding } from './doctor/finding.ts';
import { EXIT } from './exit-codes.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('looks at this machine and at all that is reached from it: what is wrong, and what to do')
    .option('--json', 'findings as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const settings = readSettings();
      const groups = await Promise.all([checkPrograms(settings), checkEngine(settings), checkServices(settings)]);
      const findings = [...groups.flat(), whereStepsRun(groups.flat())];
      process.stdout.write(
        json ? `${JSON.stringify({ ok: isWell(findings), findings }, null, 2)}\n` : render(findings),
      );
      process.exitCode = isWell(findings) ? EXIT.passed : EXIT.failed;
    });
}

/** Neither engine nor bubblewrap is needed by itself; one of the two is. */
function whereStepsRun(findings: Finding[]): Finding {
  const has = (what: string): boolean => findings.some((one) => one.what === what && one.state !== 'skipped');
  const ways = [...(has('docker engine') ? ['containers'] : []), ...(has('bubblewrap') ? ['the sandbox'] : [])];
  if (ways.length > 0) return { what: 'steps', state: 'ok', message: `run in ${ways.join(' or ')}` };
  return {
    what: 'steps',
    state: 'failed',
    message: 'have nothing to run in',
    advice: 'Start a Docker engine, or install bubblewrap (apt-get install bubblewrap).',
  };
}

function isWell(findings: Finding[]): boolean {
  return findings.every(({ state }) => state !== 'failed');
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
    .map(({ what, state, message, advice }) => {
      const line = `${MARKS[state]}  ${what.padEnd(width)}  ${message}\n`;
      return advice === undefined ? line : `${line}${' '.repeat(width + 11)}-> ${advice}\n`;
    })
    .join('');
}
