import type { Settings } from '../config/schema.ts';
import { parseDuration, parseSize } from '../config/units.ts';
import { createGit, type Git } from '../git/git.ts';
import { createAllowList } from '../intake/allow-list.ts';

/** Mirrors in `folder`, under the limits of the settings. */
export function openGit(settings: Settings, folder: string): Git {
  return createGit({
    folder,
    allowFile: settings.IMPGEM_ALLOW_FILE,
    fetchTimeoutMs: parseDuration(settings.IMPGEM_FETCH_TIMEOUT) ?? 120_000,
    limits: { bytes: parseSize(settings.IMPGEM_CLONE_LIMIT) ?? 20 * 1024 ** 3, files: settings.IMPGEM_CLONE_FILES },
    allows: createAllowList(settings.IMPGEM_ALLOW_REPOSITORIES),
  });
}
