import { parseDuration, parseSize } from '../config/units.ts';
import type { ArtifactSpec, CacheSpec, Limits, StepSpec } from '../runs/plan.ts';
import { needsOf } from './check-needs.ts';
import { compact } from './compact.ts';
import { durationMs } from './duration-ms.ts';
import { matchWhen, toList } from './match-when.ts';
import { planEnv, planRetry, unique } from './plan-values.ts';
import type { Cell, PlanContext } from './plan-pipeline.ts';
import type { StepSource } from './schema-step.ts';
import { toText } from './script-text.ts';
import type { Path } from './yaml-source.ts';

export function planStep(step: StepSource, name: string, path: Path, { matrix }: Cell, context: PlanContext): StepSpec {
  const { source } = context;
  const defaults = source.defaults?.step ?? {};
  const verdict = matchWhen(step.when, context, matrix);
  const { fill, fillFolder, fillImage, keepIf } = verdict.runs ? context : context.unreported;
  const timeout = step.timeout ?? defaults.timeout;
  const folder = step['working-directory'] ?? defaults['working-directory'];
  return {
    name,
    run: toText(step.run),
    ...(step.image === undefined ? {} : { image: fillImage(step.image, [...path, 'image'], matrix) }),
    shell: step.shell ?? defaults.shell ?? 'bash',
    env: planEnv(step.env),
    secrets: unique(toList(step.secrets)),
    ...(verdict.runs ? compact({ if: keepIf(verdict.if, path) }) : { skip: verdict.reason }),
    runsOnStatus: verdict.runs ? verdict.status : 'success',
    ...(timeout === undefined ? {} : { timeoutMs: durationMs(timeout) }),
    retry: planRetry(step.retry ?? defaults.retry),
    allowFailure: step['allow-failure'] ?? false,
    ...(folder === undefined ? {} : { workingDirectory: fillFolder(folder, [...path, 'working-directory'], matrix) }),
    artifacts: planArtifacts(step.artifacts, (name) => fill(name, [...path, 'artifacts'], matrix)),
    caches: toList(step.cache).map((cache): CacheSpec => ({
      key: cache.key,
      restoreKeys: [...toList(cache['restore-keys'])],
      paths: [...toList(cache.paths)],
    })),
    needs: needsOf(step.needs).map(({ name: need, optional }) => ({ step: need, optional })),
    background: step.background ?? false,
    network: step.network ?? defaults.network ?? 'default',
    limits: planLimits({ ...defaults.limits, ...step.limits }),
    docker: step.docker ?? false,
  };
}

function planLimits({ memory, cpu, pids }: NonNullable<StepSource['limits']>): Limits {
  return compact({ memory: memory === undefined ? undefined : parseSize(String(memory)), cpu, pids });
}

/** Patterns that stand by themselves are one group. */
function planArtifacts(artifacts: StepSource['artifacts'], fill: (name: string) => string): ArtifactSpec[] {
  const entries = toList(artifacts);
  const patterns = entries.filter((entry) => typeof entry === 'string');
  const groups = entries.filter((entry) => typeof entry !== 'string');
  return [
    ...(patterns.length > 0 ? [{ paths: patterns, when: 'success' as const }] : []),
    ...groups.map(({ paths, name, when, expire }) => ({
      paths: [...toList(paths)],
      ...compact({
        name: name === undefined ? undefined : fill(name),
        expireMs: expire === undefined ? undefined : parseDuration(expire),
      }),
      when: when ?? 'success',
    })),
  ];
}
