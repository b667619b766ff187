/** A job to run, and ports in memory that keep what the runner says: for tests of the job runner. */
import { createHash } from 'node:crypto';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readFileSync } from 'node:fs';
import type { ArtifactSpec, CacheSpec, JobSpec, StepSpec } from '../../src/runs/plan.ts';
import type { LogKey, Step } from '../../src/runs/run.ts';
import type { ArtifactFile, Assignment, JobPorts } from '../../src/worker/ports.ts';

const NO_RETRY = { count: 0, delayMs: 0, infrastructure: false };

export function stepSpec(run: string, change: Partial<StepSpec> = {}): StepSpec {
  return {
    name: change.name ?? run.slice(0, 40),
    run,
    shell: 'bash',
    env: {},
    secrets: [],
    runsOnStatus: 'success',
    retry: NO_RETRY,
    allowFailure: false,
    artifacts: [],
    caches: [],
    needs: [],
    background: false,
    network: 'default',
    limits: {},
    docker: false,
    ...change,
  };
}

export function artifact(paths: string[], change: Partial<ArtifactSpec> = {}): ArtifactSpec {
  return { paths, when: 'success', ...change };
}

export function cache(key: string, paths: string[], change: Partial<CacheSpec> = {}): CacheSpec {
  return { key, paths, restoreKeys: [], ...change };
}

export function jobSpec(steps: StepSpec[], change: Partial<JobSpec> = {}): JobSpec {
  return {
    id: 'test',
    key: 'test',
    name: 'test',
    matrix: {},
    needs: [],
    runsOnStatus: 'success',
    env: {},
    services: [],
    secrets: [],
    timeoutMs: 60_000,
    retry: NO_RETRY,
    runsOn: [],
    outputs: {},
    allowFailure: false,
    steps,
    graph: steps.some((step) => step.needs.length > 0),
    ...change,
  };
}

export function assignment(spec: JobSpec, change: Partial<Assignment> = {}): Assignment {
  return {
    run: {
      id: '0000test',
      number: 7,
      repository: 'gitea/acme/app',
      event: 'push',
      ref: 'refs/heads/main',
      branch: 'main',
      sha: 'a'.repeat(40),
      message: 'Add a thing\n\nwith a body',
      author: 'Ann',
      state: 'running',
      createdAt: '2026-01-02T03:04:05.000Z',
      startedAt: '2026-01-02T03:04:06.000Z',
    },
    event: {
      kind: 'push',
      repository: 'gitea/acme/app',
      ref: 'refs/heads/main',
      branch: 'main',
      sha: 'a'.repeat(40),
      before: 'b'.repeat(40),
      message: 'Add a thing\n\nwith a body',
      author: 'Ann',
      authorEmail: 'ann@example.org',
      defaultBranch: 'main',
      receivedAt: '2026-01-02T03:04:05.000Z',
    },
    spec,
    clone: { skip: false, depth: 1, submodules: false, lfs: false },
    attempt: 1,
    fence: 1,
    needs: {},
    steps: spec.steps.map((step) => ({ name: step.name, state: 'pending' })),
    takenOver: false,
    notes: [],
    trusted: true,
    links: { run: 'http://ci.example/runs/1', repository: 'http://git.example/acme/app' },
    ...change,
  };
}

export interface MemoryPorts extends JobPorts {
  /** Text of a log by its part: `0`, `job`, `service-db`. */
  text(part: string): string;
  closed: Set<string>;
  /** Every report, in order. */
  reports: { index: number; change: Partial<Step> }[];
  /** Steps as the reports left them. */
  steps(): Partial<Step>[];
  artifactFiles: ArtifactFile[];
  /** Contents at the time they were kept. */
  artifactText: Map<string, string>;
  cacheKeys(): string[];
  secretValues: Map<string, string>;
  /** Files of the workspace. */
  files: Record<string, string>;
}

/** The log refuses a gap and other bytes at a known offset, as the real one does. */
export function memoryPorts(folder: string): MemoryPorts {
  const logs = new Map<string, Buffer>();
  const closed = new Set<string>();
  const reports: MemoryPorts['reports'] = [];
  const artifactFiles: ArtifactFile[] = [];
  const artifactText = new Map<string, string>();
  const caches = new Map<string, string>();
  const secretValues = new Map<string, string>();
  const files: Record<string, string> = {};
  const name = (key: LogKey) => key.part;
  return {
    logs: {
      length: (key) => Promise.resolve(logs.get(name(key))?.length ?? 0),
      append: (key, offset, bytes) => {
        const known = logs.get(name(key)) ?? Buffer.alloc(0);
        if (closed.has(name(key))) return Promise.reject(new Error(`log ${key.part} is closed`));
        if (offset > known.length) return Promise.reject(new Error(`gap in log ${key.part}`));
        const overlap = known.subarray(offset, offset + bytes.length);
        if (!overlap.equals(bytes.subarray(0, overlap.length)))
          return Promise.reject(new Error(`other bytes in log ${key.part}`));
        logs.set(name(key), Buffer.concat([known, bytes.subarray(overlap.length)]));
        return Promise.resolve();
      },
      close: (key) => {
        closed.add(name(key));
        return Promise.resolve();
      },
    },
    report: {
      step: (index, change) => {
        reports.push({ index, change });
        return Promise.resolve();
      },
    },
    artifacts: {
      add: (_run, _job, added) => {
        for (const file of added) {
          artifactFiles.push(file);
          artifactText.set(file.path, readFileSync(file.source, 'utf8'));
        }
        return Promise.resolve();
      },
    },
    caches: {
      restore: async (scope, spec, roots) => {
        for (const read of scope.read)
          for (const key of [spec.key, ...spec.restoreKeys]) {
            const hit = [...caches.keys()].find((one) => one.startsWith(`${scope.repository} ${read} ${key}`));
            if (hit === undefined) continue;
            for (const path of spec.paths)
              await cp(join(caches.get(hit) ?? '', path), join(roots.workspace, path), { recursive: true });
            return hit.split(' ')[2];
          }
        return undefined;
      },
      save: async (scope, spec, roots) => {
        if (scope.write === undefined) return undefined;
        const full = `${scope.repository} ${scope.write} ${spec.key}`;
        const target = join(folder, 'caches', createHash('sha256').update(full).digest('hex'));
        for (const path of spec.paths) await cp(join(roots.workspace, path), join(target, path), { recursive: true });
        caches.set(full, target);
        return { kept: spec.paths.length, leftOut: 0 };
      },
    },
    secrets: {
      get: (_repository, names) =>
        Promise.resolve(new Map([...secretValues].filter(([secret]) => names.includes(secret)))),
    },
    workspaces: {
      create: async (_assignment, target) => {
        for (const [path, text] of Object.entries(files)) {
          await mkdir(dirname(join(target, path)), { recursive: true });
          await writeFile(join(target, path), text);
        }
        return {};
      },
    },
    text: (part) => logs.get(part)?.toString() ?? '',
    closed,
    reports,
    steps: () => {
      const steps: Partial<Step>[] = [];
      for (const { index, change } of reports) steps[index] = { ...steps[index], ...change };
      return steps;
    },
    artifactFiles,
    artifactText,
    cacheKeys: () => [...caches.keys()].sort(),
    secretValues,
    files,
  };
}
