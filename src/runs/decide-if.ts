import { evaluateConditionNow } from '../pipeline/expression.ts';
import { messageOf } from '../errors.ts';
import type { DecideIf } from './readiness.ts';
import { needsOf } from './needs-of.ts';

/** A job's `if`, once all it needs has ended. */
export const decideIf: DecideIf = (spec, record, status) => {
  try {
    return evaluateConditionNow(spec.if ?? 'true', {
      matrix: spec.matrix,
      event: record.source,
      needs: needsOf(spec, record.jobs),
      status,
    });
  } catch (error) {
    return { error: `if: ${messageOf(error)}` };
  }
};
