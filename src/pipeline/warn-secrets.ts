import type { Warn } from './find-warnings.ts';
import type { KeyedJob } from './jobs-of.ts';
import type { PipelineSource } from './schema.ts';
import { toText } from './script-text.ts';
import type { Path } from './yaml-source.ts';

const NAME = /PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIAL/i;
/** These say where a secret is, not what it is. */
const PLACE = /_(URL|FILE|PATH|NAME|ID|TTL|LENGTH)$/i;
/** What issuers of tokens begin them with. */
const TOKEN =
  /\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|AKIA[A-Z0-9]{12,}|xox[abprs]-[\w-]{10,}|npm_[A-Za-z0-9]{20,}|sk_live_\w{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----/;

/** A secret in the file is a secret in every clone of it. */
export function warnOfSecrets(source: PipelineSource, jobs: readonly KeyedJob[], warn: Warn): void {
  const warnAt = (path: Path, part?: string): void =>
    warn(path, {
      code: 'secret-in-plain-text',
      message: 'This looks like a secret in plain text.',
      hint: 'List a name under `secrets` and give the value to the server; replace this one where it was issued.',
      part,
    });
  const inEnv = (env: Readonly<Record<string, unknown>> | undefined, path: Path, byName: boolean): void => {
    for (const [name, value] of Object.entries(env ?? {})) {
      const text = String(value);
      const named = byName && NAME.test(name) && !PLACE.test(name) && text.length >= 8 && !/\$|^[/~.]/.test(text);
      if (named || TOKEN.test(text)) warnAt([...path, name]);
    }
  };
  inEnv(source.env, ['env'], true);
  for (const { job, path } of jobs) {
    inEnv(job.env, [...path, 'env'], true);
    // The password of a database that lives as long as the job is no secret.
    for (const [name, { env }] of Object.entries(job.services ?? {}))
      inEnv(env, [...path, 'services', name, 'env'], false);
    for (const [index, step] of job.steps.entries()) {
      inEnv(step.env, [...path, 'steps', index, 'env'], true);
      const token = TOKEN.exec(toText(step.run))?.[0];
      if (token !== undefined) warnAt([...path, 'steps', index, 'run'], token);
    }
  }
}
