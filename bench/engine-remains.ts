/** What an installation has on a Docker engine now. */
import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';

export interface EngineRemains {
  /** `container NAME`, `network NAME`, `volume NAME`: of jobs, and of warm slots that wait for one. */
  jobs: string[];
  warm: string[];
  /** Ids of warm slots. */
  warmSlots: Set<string>;
}

const SLOT = '{{.Label "dev.impgem.slot"}}';

/** `host` as in DOCKER_HOST. */
export async function remainsOnEngine(dataFolder: string, host: string): Promise<EngineRemains> {
  const instance = createHash('sha256').update(resolve(dataFolder)).digest('hex').slice(0, 12);
  const list = async (kind: string, name: string, ...command: string[]): Promise<[string, string][]> => {
    const filter = ['--filter', `label=dev.impgem.instance=${instance}`];
    const args = ['-H', host, ...command, ...filter, '--format', `${SLOT} {{.${name}}}`];
    const { stdout } = await execa('docker', args);
    return stdout.split('\n').flatMap((line): [string, string][] => {
      const [slot = '', ...rest] = line.split(' ');
      return line === '' ? [] : [[slot, `${kind} ${rest.join(' ')}`]];
    });
  };
  const [containers, networks, volumes] = await Promise.all([
    list('container', 'Names', 'ps', '-a'),
    list('network', 'Name', 'network', 'ls'),
    list('volume', 'Name', 'volume', 'ls'),
  ]);
  const warm = new Set(
    containers.filter(([, name]) => name.startsWith('container impgem-warm.')).map(([slot]) => slot),
  );
  const all = [...containers, ...networks, ...volumes];
  return {
    jobs: all.filter(([slot]) => !warm.has(slot)).map(([, name]) => name),
    warm: all.filter(([slot]) => warm.has(slot)).map(([, name]) => name),
    warmSlots: warm,
  };
}
