/**
 * The control groups of one job. Making and removing one takes longer than some steps, so a group whose step ended well
 * serves the next step with the same limits.
 */
import type { Limits } from '../../runs/plan.ts';
import type { JobOwner } from '../executor.ts';
import type { Cgroups, StepGroup } from './cgroups.ts';
import { groupName } from './group-name.ts';

export interface TakenGroup {
  add: (pid: number) => void;
  /** Something of this step was killed for memory. */
  outOfMemory: () => boolean;
  /** `reuse`: its processes ended by themselves. */
  release: (reuse: boolean) => Promise<void>;
}

export interface StepGroups {
  take: (limits: Limits) => TakenGroup;
  /** Removes all groups that are not taken. */
  close: () => Promise<void>;
}

export function createStepGroups(cgroups: Cgroups, owner: JobOwner): StepGroups {
  const idle = new Map<string, StepGroup[]>();
  let made = 0;
  return {
    take: (limits) => {
      const key = JSON.stringify([limits.memory, limits.cpu, limits.pids]);
      const free = idle.get(key)?.pop();
      const group = free ?? cgroups.create(groupName(owner, String((made += 1))), limits);
      const before = free === undefined ? 0 : group.memoryKills();
      return {
        add: group.add,
        outOfMemory: () => group.memoryKills() > before,
        release: async (reuse) => {
          if (reuse) idle.set(key, [...(idle.get(key) ?? []), group]);
          else await group.remove();
        },
      };
    },
    close: async () => {
      const groups = [...idle.values()].flat();
      idle.clear();
      await Promise.all(groups.map((group) => group.remove()));
    },
  };
}
