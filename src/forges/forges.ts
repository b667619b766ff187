import type { ForgeName } from '../runs/event.ts';
import type { Forge } from './forge.ts';
import { createGitea } from './gitea.ts';
import { createGitHub } from './github.ts';

/** The settings that forges are made of. */
export interface ForgeSettings {
  IMPGEM_GITHUB_URL: string;
  IMPGEM_GITHUB_API_URL: string;
  IMPGEM_GITHUB_TOKEN?: string;
  IMPGEM_GITEA_URL?: string;
  IMPGEM_GITEA_API_URL?: string;
  IMPGEM_GITEA_TOKEN?: string;
  IMPGEM_WEBHOOK_SECRET?: string;
}

/** Every driver, once: undefined when its settings say that it is not used. */
const DRIVERS: Record<ForgeName, (settings: ForgeSettings) => Forge | undefined> = {
  github: (settings) =>
    createGitHub({
      url: settings.IMPGEM_GITHUB_URL,
      apiUrl: settings.IMPGEM_GITHUB_API_URL,
      ...given('token', settings.IMPGEM_GITHUB_TOKEN),
      ...given('webhookSecret', settings.IMPGEM_WEBHOOK_SECRET),
    }),
  gitea: (settings) =>
    settings.IMPGEM_GITEA_URL === undefined
      ? undefined
      : createGitea({
          url: settings.IMPGEM_GITEA_URL,
          ...given('apiUrl', settings.IMPGEM_GITEA_API_URL),
          ...given('token', settings.IMPGEM_GITEA_TOKEN),
          ...given('webhookSecret', settings.IMPGEM_WEBHOOK_SECRET),
        }),
};

export const FORGE_NAMES = Object.keys(DRIVERS) as ForgeName[];

/** The forges that the settings name. */
export function createForges(settings: ForgeSettings): Map<ForgeName, Forge> {
  const forges = new Map<ForgeName, Forge>();
  for (const name of FORGE_NAMES) {
    const forge = DRIVERS[name](settings);
    if (forge) forges.set(name, forge);
  }
  return forges;
}

function given<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, string>);
}
