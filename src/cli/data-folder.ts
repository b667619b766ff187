import { resolve } from 'node:path';
import type { Settings } from '../config/schema.ts';

/** Where everything lies below IMPGEM_DATA. */
export function dataFolder(settings: Pick<Settings, 'IMPGEM_DATA'>): {
  root: string;
  logs: string;
  artifacts: string;
  caches: string;
  mirrors: string;
  runs: string;
  work: string;
  redis: string;
  journal: string;
  secrets: string;
} {
  const root = resolve(settings.IMPGEM_DATA);
  const at = (name: string): string => resolve(root, name);
  return {
    root,
    logs: at('logs'),
    artifacts: at('artifacts'),
    caches: at('caches'),
    mirrors: at('mirrors'),
    runs: at('runs'),
    work: at('work'),
    redis: at('redis'),
    journal: at('journal'),
    secrets: at('secrets.env'),
  };
}
