import { parseArgs } from 'node:util';
import type Docker from 'dockerode';
import { ImpGemError, messageOf } from '../../errors.ts';

/** The rights of a nested engine's container. */
export type NestedRights = Pick<
  Docker.HostConfig,
  | 'Privileged'
  | 'CapAdd'
  | 'CapDrop'
  | 'SecurityOpt'
  | 'MaskedPaths'
  | 'ReadonlyPaths'
  | 'Binds'
  | 'Devices'
  | 'Runtime'
>;

/** As the docker client hides and opens paths of /proc and /sys; the engine itself knows no such option. */
const OPEN_PATHS = 'systempaths=unconfined';

const many = { type: 'string', multiple: true } as const;
const FLAGS = {
  privileged: { type: 'boolean' },
  'cap-add': many,
  'cap-drop': many,
  'security-opt': many,
  volume: { ...many, short: 'v' },
  device: many,
  runtime: { type: 'string' },
} as const;

/**
 * `--privileged`, `--runtime sysbox-runc`, `--cap-add ALL -v /sys/fs/cgroup:/sys/fs/cgroup`: options of `docker run`, as
 * its manual has them. Throws ImpGemError `settings-invalid` for any that is not known here.
 */
export function parseNestedOptions(text: string): NestedRights {
  const args = text.split(/\s+/).filter((word) => word !== '');
  let values: ReturnType<typeof parse>;
  try {
    values = parse(args);
  } catch (error) {
    throw new ImpGemError(
      'settings-invalid',
      `IMPGEM_NESTED_ENGINE_OPTIONS: ${messageOf(error)}. Known are --${Object.keys(FLAGS).join(', --')}`,
      { cause: error },
    );
  }
  const security = values['security-opt'] ?? [];
  return {
    Privileged: values.privileged ?? false,
    CapAdd: values['cap-add'] ?? [],
    CapDrop: values['cap-drop'] ?? [],
    SecurityOpt: security.filter((option) => option !== OPEN_PATHS),
    ...(security.includes(OPEN_PATHS) ? { MaskedPaths: [], ReadonlyPaths: [] } : {}),
    Binds: values.volume ?? [],
    Devices: (values.device ?? []).map((path) => ({
      PathOnHost: path,
      PathInContainer: path,
      CgroupPermissions: 'rwm',
    })),
    ...(values.runtime === undefined ? {} : { Runtime: values.runtime }),
  };
}

function parse(args: string[]) {
  return parseArgs({ args, options: FLAGS, strict: true, allowPositionals: false }).values;
}
