import { messageOf } from '../../errors.ts';
import { connectEngine } from './engine.ts';
import type { EngineAddress } from './options.ts';
import { probeDisk } from './probe-disk.ts';
import { probeEngine } from './probe-engine.ts';

/** What `impgem doctor` says of an engine. */
export interface EngineReport {
  version: string;
  apiVersion: string;
  system: string;
  cgroup: string;
  storage: string;
  runc: string;
  rootless: boolean;
  /** The engine's own warnings: limits that its kernel does not enforce, and the like. */
  warnings: string[];
  /** Whether it sees `folder` at the same path; undefined when it has no image to ask with. */
  seesDisk?: boolean;
}

/** Gives why there is no report when no engine answers. */
export async function inspectEngine(
  address: EngineAddress,
  folder: string,
  image: string,
): Promise<EngineReport | { unreachable: string }> {
  const probe = await probeEngine(address, 3000);
  if (!probe.ok) return { unreachable: probe.reason };
  const engine = await connectEngine(address);
  const { docker } = engine;
  try {
    const [info, version] = (await Promise.all([docker.info(), docker.version()])) as [EngineInfo, EngineVersion];
    const seesDisk = (await hasImage(image)) ? await probeDisk(docker, folder, image, {}) : undefined;
    return {
      version: probe.version,
      apiVersion: probe.apiVersion,
      system: probe.system,
      cgroup: `v${info.CgroupVersion ?? '1'} (${info.CgroupDriver ?? '?'})`,
      storage: info.Driver ?? '?',
      runc: version.Components?.find(({ Name }) => Name === 'runc')?.Version ?? '',
      rootless: info.SecurityOptions?.some((option) => option.includes('rootless')) ?? false,
      warnings: info.Warnings ?? [],
      ...(seesDisk === undefined ? {} : { seesDisk }),
    };
  } catch (error) {
    return { unreachable: messageOf(error) };
  } finally {
    engine.close();
  }

  async function hasImage(name: string): Promise<boolean> {
    return docker
      .getImage(name)
      .inspect()
      .then(
        () => true,
        () => false,
      );
  }
}

interface EngineInfo {
  CgroupVersion?: string;
  CgroupDriver?: string;
  Driver?: string;
  SecurityOptions?: string[] | null;
  Warnings?: string[] | null;
}

interface EngineVersion {
  Components?: { Name: string; Version: string }[];
}
