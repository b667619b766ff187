/** Ports that end with the ownership of a job: once it is lost or let go, nothing more of it is written. */
import { setMaxListeners } from 'node:events';
import { LostJobError } from '../errors.ts';
import type { JobControl } from './job-runner.ts';
import type { JobPorts } from './ports.ts';

export interface Loss {
  ports: JobPorts;
  /** Rejects with LostJobError when the signal of detaching, or a loss told through `cancel`, comes; never resolves. */
  lost: Promise<never>;
  /** From here on every port that writes throws LostJobError. */
  cutOff(): void;
  /** The job is over: listens no longer. */
  release(): void;
}

export function raceLoss(job: string, ports: JobPorts, { detach, cancel }: JobControl): Loss {
  let gone: LostJobError | undefined;
  const over = new AbortController();
  // One signal tells every job of the worker.
  setMaxListeners(0, detach);
  const lost = new Promise<never>((_, reject) => {
    const onDetach = () => reject((gone = new LostJobError(job)));
    const onCancel = () => {
      if (cancel.reason instanceof LostJobError) reject((gone = cancel.reason));
    };
    if (detach.aborted) onDetach();
    else if (cancel.aborted) onCancel();
    detach.addEventListener('abort', onDetach, { signal: over.signal });
    cancel.addEventListener('abort', onCancel, { signal: over.signal });
  });
  lost.catch(() => undefined);
  const guard = <Args extends unknown[], Result>(write: (...args: Args) => Promise<Result>) => {
    return (...args: Args): Promise<Result> => (gone ? Promise.reject(gone) : write(...args));
  };
  const { logs, report, artifacts, caches } = ports;
  return {
    ports: {
      ...ports,
      logs: {
        length: (key) => logs.length(key),
        append: guard((...args) => logs.append(...args)),
        close: guard((key) => logs.close(key)),
      },
      report: { step: guard((...args) => report.step(...args)) },
      artifacts: { add: guard((...args) => artifacts.add(...args)) },
      caches: { restore: guard((...args) => caches.restore(...args)), save: guard((...args) => caches.save(...args)) },
    },
    lost,
    cutOff: () => (gone ??= new LostJobError(job)),
    release: () => over.abort(),
  };
}
