/** After a step: finds the files its `artifacts` name and hands them to the store. */
import { collectFiles } from '../artifacts/collect.ts';
import type { ArtifactSpec, RunsOnStatus } from '../runs/plan.ts';
import type { ArtifactFile, ArtifactStore } from './ports.ts';

export interface ArtifactJob {
  store: ArtifactStore;
  run: string;
  job: string;
  workspace: string;
  note: (text: string) => Promise<void>;
}

/** Specs whose `when` fits how the step ended. */
export function artifactsDue(specs: ArtifactSpec[], succeeded: boolean): ArtifactSpec[] {
  const fits: Record<RunsOnStatus, boolean> = { always: true, success: succeeded, failure: !succeeded };
  return specs.filter((spec) => fits[spec.when]);
}

/** Links out of the workspace and special files are refused, each with a line in the log; the rest is kept. */
export async function keepArtifacts(job: ArtifactJob, specs: ArtifactSpec[], now: number): Promise<void> {
  for (const spec of specs) {
    const { files, refused } = await collectFiles(job.workspace, spec.paths);
    for (const { path, why } of refused) await job.note(`artifact ${path} refused: ${why}`);
    if (files.length === 0) await job.note(`no artifact matches ${spec.paths.join(', ')}`);
    else
      await job.store.add(
        job.run,
        job.job,
        files.map((file) => artifactOf(file, spec, now)),
      );
  }
}

function artifactOf(file: { path: string; source: string }, spec: ArtifactSpec, now: number): ArtifactFile {
  return {
    path: file.path,
    source: file.source,
    ...(spec.name === undefined ? {} : { name: spec.name }),
    ...(spec.expireMs === undefined ? {} : { expiresAt: new Date(now + spec.expireMs).toISOString() }),
  };
}
