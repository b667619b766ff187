import { execFileSync } from 'node:child_process';

/** Vitest's global set-up: the processes that tests start are the built ones, as users run them. */
export function setup(): void {
  execFileSync(process.execPath, ['build.js'], { stdio: 'inherit' });
}
