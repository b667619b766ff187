/** A plan as a tree that says why not. */
import type { JobSpec, Plan, StepSpec } from '../runs/plan.ts';

export type Paint = (text: string, colour: 'green' | 'yellow' | 'dim') => string;

/** What becomes of a job if nothing fails. */
export type Forecast = { runs: 'yes' } | { runs: 'perhaps' | 'no'; why: string };

/** Forecasts by job id. A job that needs a skipped one is skipped, as in a real run. */
export function forecastJobs(plan: Plan): Map<string, Forecast> {
  const specs = new Map(plan.jobs.map((job) => [job.id, job]));
  const known = new Map<string, Forecast>();
  const forecast = (job: JobSpec): Forecast => {
    const cached = known.get(job.id);
    if (cached) return cached;
    const result = forecastOf(job, (id) => {
      const needed = specs.get(id);
      return needed && { name: needed.name, forecast: forecast(needed) };
    });
    known.set(job.id, result);
    return result;
  };
  for (const job of plan.jobs) forecast(job);
  return known;
}

type Lookup = (id: string) => { name: string; forecast: Forecast } | undefined;

function forecastOf(job: JobSpec, lookup: Lookup): Forecast {
  if (job.skip !== undefined) return { runs: 'no', why: job.skip };
  if (job.runsOnStatus === 'failure') return { runs: 'perhaps', why: 'only when something it needs fails' };
  if (job.runsOnStatus === 'success') {
    const needs = job.needs.filter(({ optional }) => !optional).map(({ job: id }) => lookup(id));
    const skipped = needs.find((need) => need?.forecast.runs === 'no');
    if (skipped) return { runs: 'no', why: `needs ${skipped.name}, which is skipped` };
    const perhaps = needs.find((need) => need?.forecast.runs === 'perhaps');
    if (perhaps) return { runs: 'perhaps', why: `needs ${perhaps.name}, which may be skipped` };
  }
  return job.if === undefined ? { runs: 'yes' } : { runs: 'perhaps', why: `if ${job.if}` };
}

export function forecastStep(step: StepSpec): Forecast {
  if (step.skip !== undefined) return { runs: 'no', why: step.skip };
  if (step.if !== undefined) return { runs: 'perhaps', why: `if ${step.if}` };
  return step.runsOnStatus === 'failure'
    ? { runs: 'perhaps', why: 'only when a step before it fails' }
    : { runs: 'yes' };
}

export function renderPlan(plan: Plan, event: string, paint: Paint): string {
  const title = plan.pipeline === '' ? plan.file : `${plan.pipeline} (${plan.file})`;
  const head = `${title} for ${event}`;
  if (plan.skipped !== undefined) return `${head}\n└─ ${paint('nothing runs', 'dim')}: ${plan.skipped}\n`;
  const forecasts = forecastJobs(plan);
  const lines = plan.jobs.flatMap((job, index) => {
    const last = index === plan.jobs.length - 1;
    const forecast = forecasts.get(job.id) ?? { runs: 'yes' };
    const steps = forecast.runs === 'no' ? [] : renderSteps(job.steps, last ? '   ' : '│  ', paint);
    return [
      `${last ? '└─' : '├─'} ${mark(forecast, paint)} ${job.name}${detail(forecast, paint)}${needs(job, paint)}`,
      ...steps,
    ];
  });
  return `${[head, ...lines].join('\n')}\n`;
}

function renderSteps(steps: readonly StepSpec[], indent: string, paint: Paint): string[] {
  return steps.map((step, index) => {
    const forecast = forecastStep(step);
    const branch = index === steps.length - 1 ? '└─' : '├─';
    return `${indent}${branch} ${mark(forecast, paint)} ${step.name}${detail(forecast, paint)}`;
  });
}

function mark({ runs }: Forecast, paint: Paint): string {
  if (runs === 'yes') return paint('✓', 'green');
  return runs === 'no' ? paint('-', 'dim') : paint('?', 'yellow');
}

function detail(forecast: Forecast, paint: Paint): string {
  if (forecast.runs === 'yes') return '';
  return paint(forecast.runs === 'no' ? `  skipped: ${forecast.why}` : `  ${forecast.why}`, 'dim');
}

function needs(job: JobSpec, paint: Paint): string {
  const keys = [...new Set(job.needs.map(({ key }) => key))];
  return keys.length === 0 ? '' : paint(`  after ${keys.join(', ')}`, 'dim');
}
