/** Where a job's logs and artifacts go: to the disk that is shared with the server, or to the server over HTTP. */
import { setMaxListeners } from 'node:events';
import { createArtifactStore } from '../artifacts/artifact-store.ts';
import type { Settings } from '../config/schema.ts';
import { LostJobError } from '../errors.ts';
import { createLogStore } from '../logs/log-store.ts';
import type { Patience } from '../request.ts';
import type { ArtifactStore, HeldJob, LogWriter } from '../worker/ports.ts';
import { startClock } from '../worker/stop.ts';

export interface JobStores {
  logs: LogWriter;
  artifacts: ArtifactStore;
  /** The job is over: nothing more is sent for it. */
  release(): void;
}

/** `limitMs`: the job's own time limit. */
export type StoresOfJob = (
  held: Pick<HeldJob, 'assignment' | 'cancel'>,
  detach: AbortSignal,
  limitMs: number,
) => JobStores;

/**
 * How long a server that is away is still waited for when the job was cancelled (steps that always run have a minute of
 * it), and beyond its time limit.
 */
const CANCELLED_MS = 70_000;
const BEYOND_LIMIT_MS = 120_000;

export async function openJobStores(
  settings: Settings,
  data: { logs: string; artifacts: string },
): Promise<StoresOfJob> {
  if (settings.IMPGEM_SERVER_URL === undefined) {
    const stores = { logs: createLogStore(data.logs), artifacts: createArtifactStore(data.artifacts) };
    return () => ({ ...stores, release: () => undefined });
  }
  const server = { url: settings.IMPGEM_SERVER_URL, token: settings.IMPGEM_API_TOKEN ?? '' };
  // Loaded only when needed.
  const [{ createHttpLogWriter }, { createHttpArtifactStore }] = await Promise.all([
    import('../logs/http-log-writer.ts'),
    import('../artifacts/http-artifact-store.ts'),
  ]);
  return (held, detach, limitMs) => {
    const { patience, release } = patienceOf(held, detach, limitMs);
    return {
      logs: createHttpLogWriter(server, patience),
      artifacts: createHttpArtifactStore(server, patience),
      release,
    };
  };
}

/** The server is waited for while the job is ours and goes on. */
export function patienceOf(
  { assignment, cancel }: Pick<HeldJob, 'assignment' | 'cancel'>,
  detach: AbortSignal,
  limitMs: number,
): { patience: Patience; release: () => void } {
  const [lost, enough, over] = [new AbortController(), new AbortController(), new AbortController()];
  // Each request under way listens.
  setMaxListeners(0, lost.signal, enough.signal, detach);
  const endAfter = (ms: number): void => {
    over.signal.addEventListener(
      'abort',
      startClock(ms, () => enough.abort()),
    );
  };
  const loss = (): LostJobError => new LostJobError(`job ${assignment.spec.id} of run ${assignment.run.id}`);
  const onDetach = (): void => lost.abort(loss());
  const onCancel = (): void => {
    if (cancel.reason instanceof LostJobError) lost.abort(cancel.reason);
    else endAfter(CANCELLED_MS);
  };
  endAfter(limitMs + BEYOND_LIMIT_MS);
  if (detach.aborted) onDetach();
  if (cancel.aborted) onCancel();
  detach.addEventListener('abort', onDetach, { signal: over.signal });
  cancel.addEventListener('abort', onCancel, { signal: over.signal });
  const release = (): void => {
    over.abort();
    lost.abort(loss());
  };
  return { patience: { lost: lost.signal, enough: enough.signal }, release };
}
