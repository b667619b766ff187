import { walkExpression } from './expression-ast.ts';
import type { Warn } from './find-warnings.ts';
import { toList } from './match-when.ts';
import type { PipelineSource } from './schema.ts';
import { hasExpression, parseCondition, splitTemplate } from './split-template.ts';

/** Outputs of a job that no expression of another reads. */
export function warnOfUnusedOutputs(source: PipelineSource, warn: Warn): void {
  const jobs = Object.entries(source.jobs ?? {});
  if (!jobs.some(([, { outputs }]) => outputs !== undefined)) return;
  const used = usedOutputs(source);
  for (const [key, { outputs }] of jobs)
    for (const name of Object.keys(outputs ?? {}))
      if (!used.has(`${key} ${name}`) && !used.has(`${key} *`) && !used.has('*'))
        warn(['jobs', key, 'outputs', name], {
          code: 'output-unused',
          key: true,
          message: `No job reads the output \`${name}\`.`,
          hint: `A job that needs \`${key}\` reads it as \`\${{ needs.${key}.outputs.${name} }}\`.`,
        });
}

/** `JOB OUTPUT`, `JOB *` where all of a job's may be read, `*` where any may. */
function usedOutputs(source: PipelineSource): Set<string> {
  const used = new Set<string>();
  const note = (expression: ReturnType<typeof parseCondition>): void => {
    for (const node of walkExpression(expression)) {
      if (node.kind !== 'path' || node.root !== 'needs') continue;
      const [key, field, name] = node.parts.map((part) => (part.kind === 'literal' ? String(part.value) : undefined));
      if (key === undefined) used.add('*');
      else if (field === undefined || (field === 'outputs' && name === undefined)) used.add(`${key} *`);
      else if (field === 'outputs') used.add(`${key} ${name ?? ''}`);
    }
  };
  for (const text of textsThatReadNeeds(source))
    if (hasExpression(text))
      for (const part of splitTemplate(text)) if (typeof part !== 'string') note(part.expression);
  for (const job of Object.values(source.jobs ?? {}))
    for (const when of [job.when, ...job.steps.map((step) => step.when)])
      for (const condition of toList(when)) if (condition.if !== undefined) note(parseCondition(condition.if));
  return used;
}

/** The places that know `needs`, without every `if`. */
function textsThatReadNeeds({ env, jobs = {} }: PipelineSource): string[] {
  const ofJobs = Object.values(jobs).flatMap(({ env: own, outputs, services = {}, steps }) => [
    own,
    outputs,
    ...Object.values(services).map((service) => service.env),
    ...steps.flatMap((step) => [
      step.env,
      ...toList(step.cache).map((cache) => [cache.key, ...toList(cache['restore-keys'])]),
    ]),
  ]);
  return [env, ...ofJobs].flatMap((values) => Object.values(values ?? {}).map(String));
}
