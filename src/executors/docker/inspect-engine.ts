import { statfs } from 'node:fs/promises';
import type Docker from 'dockerode';
import { messageOf } from '../../errors.ts';
import { connectEngine } from './engine.ts';
import { createNetworkRules } from './network-rules.ts';
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
  /** Where it keeps images and containers, with the bytes free there; only of an engine on this machine. */
  room?: { folder: string; free: number };
  /** Whether steps are kept from the engine's host, as createNetworkRules does it; undefined when it has no image for that. */
  rules?: { caveat?: string | undefined; error?: string };
}

/** Gives why there is no report when no engine answers. */
export async function inspectEngine(
  address: EngineAddress,
  folder: string,
  image: string,
  blocked: string[],
): Promise<EngineReport | { unreachable: string }> {
  const probe = await probeEngine(address, 3000);
  if (!probe.ok) return { unreachable: probe.reason };
  const engine = await connectEngine(address);
  const { docker } = engine;
  try {
    const [info, version] = (await Promise.all([docker.info(), docker.version()])) as [EngineInfo, EngineVersion];
    const tried = (await hasImage(image))
      ? { seesDisk: await probeDisk(docker, folder, image, {}), rules: await tryRules(docker, image, blocked) }
      : {};
    return {
      version: probe.version,
      apiVersion: probe.apiVersion,
      system: probe.system,
      cgroup: `v${info.CgroupVersion ?? '1'} (${info.CgroupDriver ?? '?'})`,
      storage: info.Driver ?? '?',
      runc: version.Components?.find(({ Name }) => Name === 'runc')?.Version ?? '',
      rootless: info.SecurityOptions?.some((option) => option.includes('rootless')) ?? false,
      warnings: info.Warnings ?? [],
      ...tried,
      ...(await roomOf(info.DockerRootDir)),
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

/** Elsewhere, or in a container, its folder is not here: then nobody here can tell. */
async function roomOf(folder: string | undefined): Promise<Pick<EngineReport, 'room'>> {
  const found = folder === undefined ? undefined : await statfs(folder).catch(() => undefined);
  return folder === undefined || found === undefined ? {} : { room: { folder, free: found.bavail * found.bsize } };
}

async function tryRules(docker: Docker, image: string, blocked: string[]): Promise<NonNullable<EngineReport['rules']>> {
  try {
    const rules = createNetworkRules(docker, {}, { blocked, image: () => Promise.resolve(image) });
    return { caveat: await rules.ensure() };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

interface EngineInfo {
  DockerRootDir?: string;
  CgroupVersion?: string;
  CgroupDriver?: string;
  Driver?: string;
  SecurityOptions?: string[] | null;
  Warnings?: string[] | null;
}

interface EngineVersion {
  Components?: { Name: string; Version: string }[];
}
