/** The first cycle as a path that ends where it begins, or undefined. Edges to unknown names are left out. */
export function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  for (const start of graph.keys()) {
    if (done.has(start)) continue;
    // By hand, not recursive: a chain may be as long as the file.
    const trail: { name: string; next: number }[] = [{ name: start, next: 0 }];
    const open = new Map([[start, 0]]);
    for (let top = trail.at(-1); top; top = trail.at(-1)) {
      const target = graph.get(top.name)?.[top.next];
      top.next += 1;
      if (target === undefined) {
        done.add(top.name);
        open.delete(top.name);
        trail.pop();
      } else if (open.has(target)) {
        return [...trail.slice(open.get(target)).map(({ name }) => name), target];
      } else if (graph.has(target) && !done.has(target)) {
        open.set(target, trail.length);
        trail.push({ name: target, next: 0 });
      }
    }
  }
  return undefined;
}
