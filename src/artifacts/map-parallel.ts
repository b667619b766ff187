/** `task` on each item, `width` at a time; results in the order of the items. The first failure ends it. */
export async function mapParallel<T, R>(items: T[], width: number, task: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  // A generator, for it ends for all who take from it as soon as one of them throws.
  const queue = (function* () {
    yield* items.entries();
  })();
  const work = async () => {
    for (const [n, item] of queue) results[n] = await task(item);
  };
  await Promise.all(Array.from({ length: width }, work));
  return results;
}
