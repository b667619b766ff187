/** Caches of a step: restored before it, kept after it succeeded. A cache that fails costs time, never the build. */
import { messageOf } from '../errors.ts';
import type { CacheSpec } from '../runs/plan.ts';
import type { Assignment, CacheContent, CacheRoots, CacheScope, CacheStore } from './ports.ts';

/** A cache whose key is resolved, and what was found. Plain JSON: it stands in the journal. */
export interface HeldCache {
  spec: CacheSpec;
  found?: string;
}

export interface CacheJob {
  store: CacheStore;
  scope: CacheScope;
  roots: CacheRoots;
  note: (text: string) => Promise<void>;
}

/**
 * A ref has a cache of its own, and reads that of the branch it starts from: a pull request its target's, a branch or tag
 * the default branch's. A fork's pull request writes none.
 */
export function cacheScope(assignment: Assignment): CacheScope {
  const { event, run, trusted } = assignment;
  const base = event.pullRequest?.targetBranch ?? event.defaultBranch;
  const own = run.ref;
  const read = [own, ...(base === undefined ? [] : [`refs/heads/${base}`])];
  return { repository: run.repository, read: [...new Set(read)], ...(trusted ? { write: own } : {}) };
}

export async function restoreCaches(job: CacheJob, specs: CacheSpec[]): Promise<HeldCache[]> {
  const held: HeldCache[] = [];
  for (const spec of specs) {
    try {
      const found = await job.store.restore(job.scope, spec, job.roots);
      await job.note(found === undefined ? `cache ${spec.key}: not found` : `cache ${found}: restored`);
      held.push(found === undefined ? { spec } : { spec, found });
    } catch (error) {
      await job.note(`cache ${spec.key} could not be restored: ${messageOf(error)}`);
      held.push({ spec });
    }
  }
  return held;
}

export async function saveCaches(job: CacheJob, held: HeldCache[]): Promise<void> {
  for (const { spec, found } of held) {
    if (found === spec.key) continue;
    try {
      const content = await job.store.save(job.scope, spec, job.roots);
      if (content) await job.note(`cache ${spec.key}: ${describe(content, spec.paths)}`);
    } catch (error) {
      await job.note(`cache ${spec.key} could not be saved: ${messageOf(error)}`);
    }
  }
}

function describe({ kept, leftOut, first }: CacheContent, paths: string[]): string {
  // Quoted: a name may hold line breaks.
  const example = first && `(first: ${JSON.stringify(first.path)}: ${first.why})`;
  if (kept > 0) return example ? `saved, without ${leftOut} ${leftOut === 1 ? 'file' : 'files'} ${example}` : 'saved';
  return `not saved, ${example ? `nothing can be kept ${example}` : `there is no ${paths.join(', ')}`}`;
}
