import type Docker from 'dockerode';
import { InfrastructureError, messageOf } from '../../errors.ts';
import { connectEngine, engineError, isUnreachable } from './engine.ts';
import { type EngineKind, kindOf } from './engine-kind.ts';
import { commonLabels } from './labels.ts';
import { createNetworkRules } from './network-rules.ts';
import type { DockerOptions, EngineAddress } from './options.ts';
import { probeDisk } from './probe-disk.ts';
import { probeEngine } from './probe-engine.ts';

/** What `impgem doctor` says of an engine. */
export interface EngineReport {
  kind: EngineKind['name'];
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
  /** Where it keeps images and containers, on its own machine. */
  rootFolder?: string | undefined;
  /** Whether steps are kept from the engine's host, as createNetworkRules does it; undefined when it has no image for that. */
  rules?: { caveat?: string | undefined; error?: string };
}

/** Why there is no report: nothing is there, or what is there does not work. `answers`: it says its version, so a worker takes it. */
export type EngineFault = { unreachable: string } | { failed: string; answers: boolean };

export interface Inspection {
  address: EngineAddress;
  /** What is tried leaves containers when we are killed: a worker of the installation finds them by it. */
  owner: Pick<DockerOptions, 'instance' | 'workerName'>;
  folder: string;
  image: string;
  blocked: string[];
}

/** For what it says of itself, and for what is tried with containers of its own. */
const ASK_MS = 10_000;
const TRY_MS = 60_000;

export async function inspectEngine(inspection: Inspection): Promise<EngineReport | EngineFault> {
  const { address, owner, folder, image, blocked } = inspection;
  const probe = await probeEngine(address);
  if (!probe.ok) return probe.isThere ? { failed: probe.reason, answers: false } : { unreachable: probe.reason };
  const engine = await connectEngine(address);
  const { docker } = engine;
  const labels = commonLabels(owner);
  try {
    const asked = Promise.all([docker.info(), docker.version(), hasImage(image)]);
    const [info, version, isThere] = (await within(ASK_MS, 'say how it is set up', asked)) as [
      EngineInfo,
      EngineVersion,
      boolean,
    ];
    const kind = kindOf(info, version);
    const seesDisk = () => within(TRY_MS, 'make a container', probeDisk(docker, folder, image, labels));
    const tried = isThere ? { seesDisk: await seesDisk(), rules: await tryRules(docker, image, blocked, labels) } : {};
    return {
      kind: kind.name,
      version: probe.version,
      apiVersion: probe.apiVersion,
      system: probe.system,
      cgroup: `v${info.CgroupVersion ?? '1'} (${info.CgroupDriver ?? '?'})`,
      storage: info.Driver ?? '?',
      runc: runcOf(version),
      rootless: kind.rootless,
      warnings: info.Warnings ?? [],
      ...tried,
      rootFolder: info.DockerRootDir,
    };
  } catch (error) {
    const known = engineError(error, 'look at the Docker engine');
    return isUnreachable(known) ? { unreachable: known.message } : { failed: known.message, answers: true };
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

async function tryRules(
  docker: Docker,
  image: string,
  blocked: string[],
  labels: Record<string, string>,
): Promise<NonNullable<EngineReport['rules']>> {
  try {
    const rules = createNetworkRules(docker, labels, { blocked, image: () => Promise.resolve(image) });
    return { caveat: await within(TRY_MS, 'run a container', rules.ensure()) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** An engine that hangs answers some calls, and others never. */
async function within<T>(ms: number, doing: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new InfrastructureError('engine-hangs', `it answers, but did not ${doing} within ${ms / 1000} s`);
    timer = setTimeout(() => reject(error), ms);
  });
  // What comes of it afterwards is nobody's concern.
  work.catch(() => undefined);
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Docker: `1.1.12`. Podman: `OCI Runtime (runc)` with `runc version 1.1.12`, lines after it, and what its distribution adds. */
function runcOf({ Components = [] }: EngineVersion): string {
  const found = Components.find(({ Name }) => /\brunc\b/.test(Name))?.Version ?? '';
  return /^(?:runc version )?(\S+)/.exec(found)?.[1] ?? '';
}

type EngineInfo = Parameters<typeof kindOf>[0] & {
  DockerRootDir?: string;
  CgroupVersion?: string;
  CgroupDriver?: string;
  Driver?: string;
  Warnings?: string[] | null;
};

interface EngineVersion {
  Components?: { Name: string; Version: string }[];
}
