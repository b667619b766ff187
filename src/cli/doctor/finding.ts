/** One thing that `impgem doctor` looked at. */
export interface Finding {
  what: string;
  /** `failed`: it will not work like this. `warning`: it works, with what the message says. `skipped`: not needed here. */
  state: 'ok' | 'warning' | 'failed' | 'skipped';
  message: string;
  /** What to do about it. */
  advice?: string;
}

/** Compares dotted numbers; what follows them (`+ds1`, `-rc.1`) is ignored. */
export function isOlder(version: string, than: string): boolean {
  const parts = (text: string): number[] => (/^\D*(\d+(?:\.\d+)*)/.exec(text)?.[1] ?? '0').split('.').map(Number);
  const [a, b] = [parts(version), parts(than)];
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
