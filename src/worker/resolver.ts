/** `${{ }}` where a job runs: what the planner could not know (needs, steps, env handed on, `hash()`). */
import { hashFiles } from '../artifacts/collect.ts';
import { InputError } from '../errors.ts';
import { ExpressionError } from '../pipeline/expression-ast.ts';
import { evaluateCondition, interpolate, type ExpressionContext, type Status } from '../pipeline/expression.ts';
import type { Assignment } from './ports.ts';
import type { StepResult } from './step-rules.ts';

interface ResolveScope {
  env: Record<string, string>;
  /** For a condition. */
  status?: Status;
}

export interface Resolver {
  text(template: string, scope: ResolveScope): Promise<string>;
  /** Values of a map, resolved. */
  record(values: Record<string, string>, scope: ResolveScope): Promise<Record<string, string>>;
  condition(text: string, scope: ResolveScope): Promise<boolean>;
}

export interface ResolverDeps {
  assignment: Assignment;
  results: readonly (StepResult | undefined)[];
  /** Settles with the folder whose files `hash()` reads, when they are there. */
  workspace: () => Promise<string>;
}

/** A mistake is an InputError `expression-invalid`: a sentence for the pipeline's author. */
export function createResolver(deps: ResolverDeps): Resolver {
  const { assignment, results } = deps;
  const hash = async (globs: string[]) => hashFiles(await deps.workspace(), globs);
  const contextOf = (scope: ResolveScope): ExpressionContext => ({
    matrix: assignment.spec.matrix,
    env: scope.env,
    event: assignment.event,
    run: {
      id: assignment.run.id,
      number: assignment.run.number,
      attempt: assignment.attempt,
      url: assignment.links.run ?? '',
    },
    needs: assignment.needs,
    steps: stepsContext(assignment, results),
    ...(scope.status === undefined ? {} : { status: scope.status }),
  });
  const text: Resolver['text'] = (template, scope) =>
    explained(template, interpolate(template, contextOf(scope), hash));
  return {
    text,
    record: async (values, scope) => {
      const entries = Object.entries(values);
      const resolved = await Promise.all(
        entries.map(async ([name, value]) => [name, await text(value, scope)] as const),
      );
      return Object.fromEntries(resolved);
    },
    condition: (condition, scope) => explained(condition, evaluateCondition(condition, contextOf(scope), hash)),
  };
}

async function explained<T>(text: string, evaluation: Promise<T>): Promise<T> {
  try {
    return await evaluation;
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new InputError('expression-invalid', `${text}: ${error.message}`, { cause: error });
  }
}

function stepsContext(
  assignment: Assignment,
  results: readonly (StepResult | undefined)[],
): NonNullable<ExpressionContext['steps']> {
  const steps = assignment.spec.steps.flatMap(({ name }, index) => {
    const result = results[index];
    return result ? [[name, { result: result.state, outputs: Object.fromEntries(result.outputs) }] as const] : [];
  });
  return Object.fromEntries(steps);
}
