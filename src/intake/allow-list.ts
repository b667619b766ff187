import picomatch from 'picomatch';

/** Tells whether a `forge/owner/name` matches a comma-separated list of globs; without a list every one does. */
export function createAllowList(globs: string | undefined): (repository: string) => boolean {
  const list = (globs ?? '')
    .split(',')
    .map((glob) => glob.trim())
    .filter((glob) => glob !== '');
  if (globs === undefined || list.length === 0) return () => globs === undefined;
  return picomatch(list, { nocase: true, dot: true });
}
