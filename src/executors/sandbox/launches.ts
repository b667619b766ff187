/** The launches of one job: while a step runs, the next one's bubblewrap is started and waits for it. */
import type { UpcomingTask } from '../executor.ts';
import type { SandboxHost } from './host.ts';
import { discard, launch, type Launch, type LaunchTask } from './launch.ts';
import type { StepGroups } from './step-groups.ts';

export interface Launches {
  /** What comes next, in this order; replaces what was said before. */
  expect: (tasks: UpcomingTask[]) => void;
  /** The launch for a task: the one that waits, if it fits. */
  take: (task: LaunchTask & { id: string }) => Promise<Launch>;
  close: () => Promise<void>;
}

interface Waiting {
  key: string;
  launched: Promise<Launch>;
}

export function createLaunches(host: SandboxHost, groups: StepGroups | undefined): Launches {
  let waiting: Waiting | undefined;
  let upcoming: UpcomingTask[] = [];
  let closed = false;
  const discarding = new Set<Promise<void>>();

  const drop = (): void => {
    if (waiting === undefined) return;
    // A launch that failed ahead fails again where a step needs it, and is told there.
    const dropped = waiting.launched.then(discard, () => undefined);
    waiting = undefined;
    discarding.add(dropped);
    void dropped.finally(() => discarding.delete(dropped));
  };
  const startAhead = (task: LaunchTask | undefined): void => {
    if (closed || task === undefined || waiting?.key === keyOf(task)) return;
    drop();
    const launched = launch(host, groups, task);
    launched.catch(() => undefined);
    waiting = { key: keyOf(task), launched };
  };
  const takeWaiting = async (task: LaunchTask): Promise<Launch | undefined> => {
    if (waiting?.key !== keyOf(task)) return undefined;
    const { launched } = waiting;
    waiting = undefined;
    const ready = await launched.catch(() => undefined);
    if (ready === undefined || isRunning(ready)) return ready;
    await discard(ready);
    return undefined;
  };

  // Most jobs start with such a step, and it is not needed before the workspace is there.
  startAhead({ shell: 'bash', limits: {} });

  return {
    expect: (tasks) => {
      upcoming = tasks;
      if (waiting === undefined) startAhead(upcoming[0]);
    },
    take: async (task) => {
      const at = upcoming.findIndex(({ id }) => id === task.id);
      if (at >= 0) upcoming = upcoming.slice(at + 1);
      const taken = (await takeWaiting(task)) ?? (await launch(host, groups, task));
      // After this task has begun: it must not wait for the next one.
      setImmediate(() => startAhead(upcoming[0]));
      return taken;
    },
    close: async () => {
      closed = true;
      drop();
      await Promise.all(discarding);
    },
  };
}

function isRunning({ child }: Launch): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** What must be the same; a task with a folder of its own is never started ahead. */
function keyOf({ shell, limits, workingDirectory }: LaunchTask): string {
  return JSON.stringify([shell, limits.memory, limits.cpu, limits.pids, workingDirectory]);
}
