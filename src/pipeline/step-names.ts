import type { StepSource } from './schema-step.ts';

/** The names of the steps of a job: `step-2` for the second one when it has none. */
export function stepNames(steps: readonly StepSource[]): string[] {
  return steps.map(({ name }, index) => name ?? `step-${index + 1}`);
}
