import type { FreeRoom } from '../../free-room.ts';

/** One thing that `impgem doctor` looked at. */
export type Finding = {
  what: string;
  message: string;
} & (
  | { state: 'ok' }
  | {
      /** `failed`: it will not work like this. `warning`: it works, with what the message says. `skipped`: not needed here. */
      state: 'warning' | 'failed' | 'skipped';
      /** What to do about it. */
      advice: string;
    }
);

/** Compares dotted numbers, and what comes before a release (`-rc.1`, `~rc93`); what else follows (`+ds1`) is ignored. */
export function isOlder(version: string, than: string): boolean {
  const [a, b] = [partsOf(version), partsOf(than)];
  for (let at = 0; at < Math.max(a.numbers.length, b.numbers.length); at++) {
    const difference = (a.numbers[at] ?? 0) - (b.numbers[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return a.stage === b.stage ? a.turn < b.turn : a.stage < b.stage;
}

const STAGES = ['alpha', 'beta', 'rc'];

function partsOf(version: string): { numbers: number[]; stage: number; turn: number } {
  const [, numbers = '0', stage, turn = '0'] =
    /^\D*(\d+(?:\.\d+)*)(?:[-~](alpha|beta|rc)\.?(\d+)?)?/.exec(version) ?? [];
  return {
    numbers: numbers.split('.').map(Number),
    stage: stage === undefined ? STAGES.length : STAGES.indexOf(stage),
    turn: Number(turn),
  };
}

/** Of inodes: the dependencies of one checkout may be as many. */
export const FEW_FILES = 50_000;

export function roomText({ bytes, files }: FreeRoom): string {
  return `${(bytes / 1e9).toFixed(1)} GB free${files < FEW_FILES ? `, but only ${files} inodes` : ''}`;
}
