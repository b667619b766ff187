/** A step of the plan as the task an executor gets. */
import { InputError } from '../errors.ts';
import type { Task, UpcomingTask } from '../executors/executor.ts';
import { capLimits } from '../executors/limits.ts';
import type { JobSpec, Limits } from '../runs/plan.ts';
import { buildEnvironment } from './environment.ts';
import type { JobScope, StepView } from './job-scope.ts';

export function taskId(index: number, retry: number): string {
  return retry === 0 ? String(index) : `${index}-retry-${retry}`;
}

/** What is known of a step's task before its turn. The same shape later becomes the task, so that a container started ahead fits. */
export function upcomingTask(spec: JobSpec, limits: Limits, index: number, retry = 0): UpcomingTask {
  const step = stepAt(spec, index);
  const image = step.image ?? spec.image;
  return {
    id: taskId(index, retry),
    shell: step.shell,
    ...(image === undefined ? {} : { image }),
    network: step.network,
    limits: capLimits(step.limits, limits),
    docker: step.docker,
  };
}

/** The steps that probably come next, in the order of the file. `begun`: places that had their turn. */
export function upcomingTasks(
  spec: JobSpec,
  limits: Limits,
  begun: ReadonlySet<number>,
  failed: boolean,
): UpcomingTask[] {
  return spec.steps.flatMap((step, index) => {
    const comes = step.skip === undefined && step.runsOnStatus !== (failed ? 'success' : 'failure');
    return comes && !begun.has(index) ? [upcomingTask(spec, limits, index)] : [];
  });
}

export async function resolveTask(job: JobScope, index: number, retry: number, view: StepView): Promise<Task> {
  const step = stepAt(job.spec, index);
  const outer = { ...job.env, ...Object.fromEntries(view.env) };
  const env = await job.resolver.record(step.env, { env: outer });
  const names = [...job.spec.secrets, ...step.secrets];
  const secrets = new Map(
    names.flatMap((name) => (job.secrets.has(name) ? [[name, job.secrets.get(name) ?? '']] : [])),
  );
  const environment = buildEnvironment(
    { assignment: job.assignment, step: { name: step.name, index, retry } },
    { job: job.env, handedOn: view.env, step: env, secrets },
  );
  checkSize(environment);
  return {
    ...upcomingTask(job.spec, job.limits, index, retry),
    script: step.run,
    env: environment,
    path: view.path,
    ...(step.workingDirectory === undefined ? {} : { workingDirectory: step.workingDirectory }),
  };
}

/** Linux hands a process at most 2 MiB of arguments and environment together. */
const MAX_ENVIRONMENT = 1536 * 1024;
/** Bubblewrap takes 9000 arguments, three for each variable. */
const MAX_VARIABLES = 2000;

function checkSize(environment: Record<string, string>): void {
  const count = Object.keys(environment).length;
  if (count > MAX_VARIABLES)
    throw new InputError(
      'environment-too-large',
      `the environment of the step has ${count} variables; at most ${MAX_VARIABLES} fit. Hand many values on in files`,
    );
  const bytes = Object.entries(environment).reduce(
    (sum, [name, value]) => sum + name.length + Buffer.byteLength(value) + 2,
    0,
  );
  if (bytes > MAX_ENVIRONMENT)
    throw new InputError(
      'environment-too-large',
      `the environment of the step has ${bytes} bytes; at most ${MAX_ENVIRONMENT} fit. Hand large values on in files`,
    );
}

export function stepAt(spec: JobSpec, index: number): JobSpec['steps'][number] {
  const step = spec.steps[index];
  if (!step) throw new RangeError(`job ${spec.id} has no step ${index}`);
  return step;
}
