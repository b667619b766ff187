import { checkEach, refuseNul } from './check-values.ts';
import type { Report } from './pipeline.ts';
import type { Path } from './yaml-source.ts';

/** Characters of an expression that are shown; what a stranger wrote may be as long as a script. */
const SHOWN = 200;

/** A value inside of a script would be read by Bash: a branch named `$(id)` would run. */
export function checkScript(run: string | readonly string[] | undefined, path: Path, report: Report): void {
  checkEach(run, path, (script, at) => {
    refuseNul(script, at, report);
    const open = script.indexOf('${{');
    if (open === -1) return;
    const close = script.indexOf('}}', open);
    const found = script.slice(open, Math.min(close === -1 ? script.length : close + 2, open + SHOWN));
    const inner = found
      .replace(/^\$\{\{/, '')
      .replace(/\}\}$/, '')
      .trim();
    const name = (/[A-Za-z_]\w*$/.exec(inner)?.[0] ?? 'VALUE').replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();
    report(at, {
      code: 'expression-in-run',
      message: 'A script takes no `${{ }}`: the value would be read by the shell.',
      hint: `Hand it over as a variable: \`env: { ${name}: "\${{ ${inner} }}" }\`, and write \`"$${name}"\` in the script.`,
      part: found,
    });
  });
}
