import picomatch from 'picomatch';

/**
 * Tells whether a `forge/owner/name` matches a comma-separated list of globs; without a list every one does. `!glob`
 * takes away from the others, and allows nothing by itself.
 */
export function createAllowList(globs: string | undefined): (repository: string) => boolean {
  if (globs === undefined) return () => true;
  const list = globs
    .split(',')
    .map((glob) => glob.trim())
    .filter((glob) => glob !== '');
  const isWanted = matcherOf(list.filter((glob) => !glob.startsWith('!')));
  const isUnwanted = matcherOf(list.filter((glob) => glob.startsWith('!')).map((glob) => glob.slice(1)));
  return (repository) => isWanted(repository) && !isUnwanted(repository);
}

// picomatch itself takes `!x` in a list as "whatever is not x", which would let everybody in.
function matcherOf(globs: string[]): (repository: string) => boolean {
  return globs.length === 0 ? () => false : picomatch(globs, { nocase: true, dot: true, nonegate: true });
}
