import { evaluateConditionNow } from '../pipeline/expression.ts';
import { messageOf } from '../errors.ts';
import type { DecideIf } from './readiness.ts';
import { needsOf } from './needs-of.ts';

/** A job's `if`, once all it needs has ended. */
export const decideIf: DecideIf = (spec, record) => {
  const needs = needsOf(spec, record.jobs);
  const bad = Object.values(needs).some((need) => need.result !== 'succeeded' && need.result !== 'skipped');
  try {
    return evaluateConditionNow(spec.if ?? 'true', {
      matrix: spec.matrix,
      env: spec.env,
      event: record.source,
      run: { id: record.id, number: record.number },
      needs,
      status: bad ? 'failure' : 'success',
    });
  } catch (error) {
    return { error: `if: ${messageOf(error)}` };
  }
};
