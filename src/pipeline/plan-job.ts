import type { JobNeed, JobSpec, ServiceSpec } from '../runs/plan.ts';
import { needsOf } from './check-needs.ts';
import { compact } from './compact.ts';
import { durationMs } from './duration-ms.ts';
import { matchWhen, toList } from './match-when.ts';
import type { Cell, PlanContext } from './plan-pipeline.ts';
import { planConcurrency, planEnv, planRetry, unique } from './plan-values.ts';
import { planStep } from './plan-step.ts';
import type { JobSource } from './schema.ts';
import { toText } from './script-text.ts';
import { stepNames } from './step-names.ts';
import type { Path } from './yaml-source.ts';

const SERVICE_READY_MS = 60_000;

/** `idsOf` gives the ids of all cells of a job key. */
export function planJob(cell: Cell, idsOf: (key: string) => string[], given: PlanContext): JobSpec {
  const { id, key, name, job, path, matrix } = cell;
  const { source } = given;
  const verdict = matchWhen(job.when, given, matrix);
  const context = verdict.runs ? given : { ...given, ...given.unreported };
  const { fill, fillImage } = context;
  const defaults = source.defaults?.job ?? {};
  const image = job.image === undefined ? source.image : job.image;
  const imagePath = job.image === undefined ? ['image'] : [...path, 'image'];
  const names = stepNames(job.steps);
  const timeout = job.timeout ?? defaults.timeout;
  return {
    id,
    key,
    name,
    matrix,
    needs: planNeeds(job, idsOf),
    ...(verdict.runs ? compact({ if: context.keepIf(verdict.if, path) }) : { skip: verdict.reason }),
    runsOnStatus: verdict.runs ? verdict.status : 'success',
    ...(image === undefined ? {} : { image: fillImage(image, imagePath, matrix) }),
    env: planEnv({ ...source.env, ...job.env }),
    services: Object.entries(job.services ?? {}).map(([service, spec]) =>
      planService(service, spec, [...path, 'services', service], cell, context),
    ),
    secrets: unique(toList(job.secrets)),
    timeoutMs: timeout === undefined ? context.jobTimeoutMs : durationMs(timeout),
    retry: planRetry(job.retry ?? defaults.retry),
    ...compact({ concurrency: planConcurrency(job.concurrency, [...path, 'concurrency'], matrix, context) }),
    runsOn: unique(
      toList(job['runs-on'] ?? defaults['runs-on']).map((label) => fill(label, [...path, 'runs-on'], matrix)),
    ),
    outputs: { ...job.outputs },
    allowFailure: job['allow-failure'] ?? false,
    steps: job.steps.map((step, index) => planStep(step, names[index] ?? '', [...path, 'steps', index], cell, context)),
    graph: job.steps.some((step) => step.needs !== undefined),
  };
}

function planNeeds(job: JobSource, idsOf: (key: string) => string[]): JobNeed[] {
  return needsOf(job.needs).flatMap(({ name, optional }) =>
    idsOf(name).map((id) => ({ job: id, key: name, optional })),
  );
}

function planService(
  name: string,
  service: NonNullable<JobSource['services']>[string],
  path: Path,
  { matrix }: Cell,
  { fillImage }: PlanContext,
): ServiceSpec {
  const { image, run, env, ready } = service;
  const timeoutMs = ready?.timeout === undefined ? SERVICE_READY_MS : durationMs(ready.timeout);
  return {
    name,
    ...(image === undefined ? {} : { image: fillImage(image, [...path, 'image'], matrix) }),
    ...(run === undefined ? {} : { run: toText(run) }),
    env: planEnv(env),
    ...(ready?.port === undefined ? {} : { ready: { port: ready.port, timeoutMs } }),
    ...(ready?.command === undefined ? {} : { ready: { command: ready.command, timeoutMs } }),
  };
}
