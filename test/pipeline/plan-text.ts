import { type ParseResult, parsePipeline } from '../../src/pipeline/parse.ts';
import { type PlanInput, planPipeline, type PlanResult } from '../../src/pipeline/plan-pipeline.ts';
import { pipelineEvent } from '../support/pipeline-event.ts';

/** Text to plan, with all diagnostics of both stages. */
export function planText(text: string, input: Partial<PlanInput> = {}): PlanResult & Pick<ParseResult, 'pipeline'> {
  const { pipeline, diagnostics } = parsePipeline(text, '.impgem.yml');
  if (!pipeline) return { diagnostics };
  const planned = planPipeline(pipeline, { event: pipelineEvent(), defaults: { jobTimeoutMs: 3_600_000 }, ...input });
  return { pipeline, ...planned, diagnostics: [...diagnostics, ...planned.diagnostics] };
}

/** Codes of the diagnostics, each once. */
export function codesOf(text: string): string[] {
  return [...new Set(planText(text).diagnostics.map(({ code }) => code))];
}
