import type { Settings } from '../config/schema.ts';
import { parseDuration, parseSize } from '../config/units.ts';
import { createAllowList } from '../intake/allow-list.ts';
import type { Limits } from '../runs/plan.ts';
import type { JobDefaults } from '../worker/job-runner.ts';

export function stepLimits(settings: Settings): Limits {
  const memory = parseSize(settings.IMPGEM_STEP_MEMORY);
  return {
    ...(memory === undefined ? {} : { memory }),
    cpu: settings.IMPGEM_STEP_CPU,
    pids: settings.IMPGEM_STEP_PIDS,
  };
}

export function jobDefaults(settings: Settings): JobDefaults {
  return {
    image: settings.IMPGEM_IMAGE,
    jobTimeoutMs: parseDuration(settings.IMPGEM_JOB_TIMEOUT) ?? 3_600_000,
    logLimit: parseSize(settings.IMPGEM_LOG_LIMIT) ?? 4 * 1024 ** 3,
    diskLimit: parseSize(settings.IMPGEM_JOB_DISK) ?? 20 * 1024 ** 3,
    limits: stepLimits(settings),
    trusts:
      settings.IMPGEM_TRUSTED_REPOSITORIES === undefined
        ? () => false
        : createAllowList(settings.IMPGEM_TRUSTED_REPOSITORIES),
  };
}
