import type { PipelineEvent } from '../../src/runs/event.ts';
import type { JobSpec, Plan, StepSpec } from '../../src/runs/plan.ts';

export function stepSpec(name: string, run = 'true', more: Partial<StepSpec> = {}): StepSpec {
  return {
    name,
    run,
    shell: 'bash',
    env: {},
    secrets: [],
    runsOnStatus: 'success',
    retry: { count: 0, delayMs: 0, infrastructure: false },
    allowFailure: false,
    artifacts: [],
    caches: [],
    needs: [],
    background: false,
    network: 'default',
    limits: {},
    docker: false,
    ...more,
  };
}

export function jobSpec(id: string, more: Partial<JobSpec> = {}): JobSpec {
  return {
    id,
    key: id,
    name: id,
    matrix: {},
    needs: [],
    runsOnStatus: 'success',
    env: {},
    services: [],
    secrets: [],
    timeoutMs: 60_000,
    retry: { count: 0, delayMs: 0, infrastructure: false },
    runsOn: [],
    outputs: {},
    allowFailure: false,
    steps: [stepSpec('one')],
    graph: false,
    ...more,
  };
}

export const need = (job: string, optional = false) => ({ job, key: job, optional });

export function planOf(...jobs: JobSpec[]): Plan {
  return { pipeline: '', file: '.impgem.yml', clone: { skip: false, depth: 0, submodules: false, lfs: false }, jobs };
}

export function pushEvent(more: Partial<PipelineEvent> = {}): PipelineEvent {
  return {
    kind: 'push',
    repository: 'gitea/gem/tools',
    ref: 'refs/heads/main',
    branch: 'main',
    sha: 'a'.repeat(40),
    message: 'a commit',
    author: 'Ada',
    delivery: 'd1',
    receivedAt: '2026-01-02T03:04:05.678Z',
    ...more,
  };
}
