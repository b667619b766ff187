import { randomBytes } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import type { Settings } from '../config/schema.ts';

const NAMES = ['IMPGEM_API_TOKEN', 'IMPGEM_WEBHOOK_SECRET'] as const;

/**
 * The secrets that were not set, from `file` (mode 0600), made on the first start. Gives the environment to hand on,
 * whether something was made, and whether others could read the file until now.
 */
export async function ownSecrets(
  settings: Settings,
  file: string,
): Promise<{ env: Record<string, string>; made: boolean; wasOpen: boolean }> {
  const wasOpen = await closeToOthers(file);
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  const kept = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^([A-Z_]+)=(.+)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) kept.set(name, value);
  }
  let made = false;
  const env: Record<string, string> = {};
  for (const name of NAMES) {
    if (settings[name] !== undefined) continue;
    if (!kept.has(name)) {
      kept.set(name, randomBytes(32).toString('base64url'));
      made = true;
    }
    env[name] = kept.get(name) ?? '';
  }
  if (made) await writeFile(file, [...kept].map(([name, value]) => `${name}=${value}\n`).join(''), { mode: 0o600 });
  return { env, made, wasOpen };
}

/** A file that was there before (restored, or made by hand) keeps its mode when it is written. */
async function closeToOthers(file: string): Promise<boolean> {
  try {
    const { mode } = await stat(file);
    if ((mode & 0o077) === 0) return false;
    await chmod(file, 0o600);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
