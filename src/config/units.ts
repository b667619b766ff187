const TIME: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE: Record<string, number> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `90s`, `10m`, `500ms`, `1h`, `2d` in ms; undefined for any other form. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  return match ? Number(match[1]) * (TIME[match[2] ?? ''] ?? 1) : undefined;
}

/** `512m`, `4g`, `1048576` in bytes; undefined for any other form. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+)([kmg]?)$/i.exec(text);
  return match ? Number(match[1]) * (SIZE[(match[2] ?? '').toLowerCase()] ?? 1) : undefined;
}
