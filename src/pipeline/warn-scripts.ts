import { checkEach } from './check-values.ts';
import type { Warn } from './find-warnings.ts';
import type { KeyedJob } from './jobs-of.ts';

const PIPED = /\b(?:curl|wget)\b[^|\n;&]{0,500}\|\s{0,20}(?:sudo\s{1,5})?(?:env\s{1,5})?(?:ba|da|z|k)?sh\b/;
const SUBSTITUTED = /\b(?:ba|da|z|k)?sh\s{1,5}(?:-c\s{1,5}"?\$|<)\(\s{0,5}(?:curl|wget)\b/;

/** Whoever owns the address (or the network in between) owns the build. */
export function warnOfScripts(jobs: readonly KeyedJob[], warn: Warn): void {
  for (const { job, path } of jobs)
    for (const [index, step] of job.steps.entries())
      checkEach(step.run, [...path, 'steps', index, 'run'], (script, at) => {
        const part = (PIPED.exec(script) ?? SUBSTITUTED.exec(script))?.[0];
        if (part === undefined) return;
        warn(at, {
          code: 'pipe-to-shell',
          message: 'A script from the network is run unseen.',
          hint: 'Download it, compare its checksum (`sha256sum -c`), and run the file.',
          part,
        });
      });
}
