import { checkEach } from './check-values.ts';
import type { Warn } from './find-warnings.ts';
import type { KeyedJob } from './jobs-of.ts';

const INTO_SHELL = /\|\s{0,20}(?:sudo\s{1,5})?(?:env\s{1,5})?(?:ba|da|z|k)?sh\b/g;
const DOWNLOAD = /\b(?:curl|wget)\b/;
/** Characters of the command before a `|` that are looked at. */
const BEFORE = 500;
const SUBSTITUTED = /\b(?:ba|da|z|k)?sh\s{1,5}(?:-c\s{1,5}"?\$|<)\(\s{0,5}(?:curl|wget)\b/;

/** Whoever owns the address (or the network in between) owns the build. */
export function warnOfScripts(jobs: readonly KeyedJob[], warn: Warn): void {
  for (const { job, path } of jobs)
    for (const [index, step] of job.steps.entries())
      checkEach(step.run, [...path, 'steps', index, 'run'], (script, at) => {
        const part = pipedIn(script) ?? SUBSTITUTED.exec(script)?.[0];
        if (part === undefined) return;
        warn(at, {
          code: 'pipe-to-shell',
          message: 'A script from the network is run unseen.',
          hint: 'Download it, compare its checksum (`sha256sum -c`), and run the file.',
          part,
        });
      });
}

/** From the pipe backwards: a script of nothing but `curl` would be read 500 times the other way. */
function pipedIn(script: string): string | undefined {
  for (const { 0: pipe, index } of script.matchAll(INTO_SHELL)) {
    const command =
      script
        .slice(Math.max(0, index - BEFORE), index)
        .split(/[|\n;&]/)
        .at(-1) ?? '';
    const start = command.search(DOWNLOAD);
    if (start !== -1) return command.slice(start) + pipe;
  }
  return undefined;
}
