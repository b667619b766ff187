/** What differs between engines that speak Docker's API, as far as we have to know. */
import type Docker from 'dockerode';
import { engineCall } from './engine.ts';

export interface EngineKind {
  name: 'Docker' | 'Podman';
  rootless: boolean;
  /** How it keeps output: `local` where it can. Podman cannot, and knows the other name. */
  keptLog: 'local' | 'json-file';
  /** Of its machine; undefined when it does not say. */
  cores?: number;
}

export async function askKind(docker: Docker): Promise<EngineKind> {
  const [info, version] = (await engineCall('use the Docker engine', () =>
    Promise.all([docker.info(), docker.version()]),
  )) as [EngineInfo, EngineVersion];
  return kindOf(info, version);
}

/** For who has asked already. */
export function kindOf(info: EngineInfo, version: EngineVersion): EngineKind {
  const { NCPU: cores = 0, Plugins, SecurityOptions } = info;
  return {
    name: version.Components?.some(({ Name }) => Name.startsWith('Podman')) ? 'Podman' : 'Docker',
    rootless: SecurityOptions?.some((option) => option.includes('rootless')) ?? false,
    keptLog: Plugins?.Log?.includes('local') ? 'local' : 'json-file',
    ...(cores < 1 ? {} : { cores }),
  };
}

interface EngineInfo {
  NCPU?: number;
  Plugins?: { Log?: string[] | null };
  SecurityOptions?: string[] | null;
}

interface EngineVersion {
  Components?: { Name: string }[];
}
