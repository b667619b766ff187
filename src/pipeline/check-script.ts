import { checkEach, refuseNul } from './check-values.ts';
import type { Report } from './pipeline.ts';
import type { Path } from './yaml-source.ts';

/** A value inside of a script would be read by Bash: a branch named `$(id)` would run. */
export function checkScript(run: string | readonly string[] | undefined, path: Path, report: Report): void {
  checkEach(run, path, (script, at) => {
    refuseNul(script, at, report);
    const found = /\$\{\{[\s\S]*?(?:\}\}|$)/.exec(script)?.[0];
    if (found === undefined) return;
    const inner = found.replace(/^\$\{\{\s*|\s*\}\}$/g, '');
    const name = (/[A-Za-z_]\w*$/.exec(inner)?.[0] ?? 'VALUE').replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();
    report(at, {
      code: 'expression-in-run',
      message: 'A script takes no `${{ }}`: the value would be read by the shell.',
      hint: `Hand it over as a variable: \`env: { ${name}: "\${{ ${inner} }}" }\`, and write \`"$${name}"\` in the script.`,
      part: found,
    });
  });
}
