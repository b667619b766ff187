/**
 * Rules of the engine's packet filter for the bridges of jobs: no way to the engine's own host (its API, Redis, whatever
 * listens there), to link-local addresses (the metadata of clouds), and to what the operator names. The engine itself
 * keeps jobs apart from each other and from other containers. A short-lived container on the engine sets them with the
 * engine's own iptables, so it is the same for a local engine and for one across the network.
 */
import type Docker from 'dockerode';
import { InfrastructureError } from '../../errors.ts';
import { engineCall } from './engine.ts';

/** All bridges of jobs begin so; what follows is the slot's id. */
export const BRIDGE_PREFIX = 'ig';
const LINK_LOCAL = '169.254.0.0/16';
const CIDR = /^[0-9a-fA-F.:]+(\/\d{1,3})?$/;

export interface NetworkRules {
  /** Sets the rules once. Rejects `network-rules` when they cannot be set. */
  ensure(): Promise<void>;
  /** The engine was restarted, its host perhaps as well: the next `ensure` sets them again. */
  forget(): void;
}

/**
 * `image` gives an image that is on the engine, with chroot. What runs in it sees the whole disk of the engine's host, so
 * it must be the operator's: `chroot` of an image that a pipeline names is a stranger's program.
 */
export function createNetworkRules(
  docker: Docker,
  labels: Record<string, string>,
  blockedNetworks: string[],
  image: () => Promise<string>,
): NetworkRules {
  let set: Promise<void> | undefined;
  const script = renderRules(blockedNetworks);

  async function apply(): Promise<void> {
    const own = await image();
    const container = await engineCall('create a container that sets network rules', () =>
      docker.createContainer({
        Image: own,
        Entrypoint: ['chroot', '/engine', '/bin/sh', '-c', script],
        Cmd: [],
        User: '0',
        WorkingDir: '/',
        Labels: labels,
        HostConfig: {
          NetworkMode: 'host',
          Binds: ['/:/engine'],
          CapDrop: ['ALL'],
          CapAdd: ['NET_ADMIN', 'NET_RAW', 'SYS_CHROOT'],
          LogConfig: { Type: 'local', Config: {} },
        },
      }),
    );
    try {
      const { code, text } = await engineCall('set network rules', async () => {
        await container.start();
        const { StatusCode } = (await container.wait()) as { StatusCode: number };
        const log = await container.logs({ stdout: true, stderr: true, follow: false });
        return { code: StatusCode, text: log.toString('latin1').replaceAll(/[^\x20-\x7e\n]/g, '') };
      });
      if (code !== 0)
        throw new InfrastructureError(
          'network-rules',
          `The engine's packet filter could not be told to keep jobs from its host (${text.trim().slice(0, 300)})`,
        );
    } finally {
      await container.remove({ force: true, v: true }).catch(() => undefined); // The reaper finds it by its label.
    }
  }

  return {
    ensure() {
      if (set) return set;
      const attempt = apply();
      set = attempt;
      attempt.catch(() => {
        if (set === attempt) set = undefined;
      });
      return attempt;
    },
    forget: () => {
      set = undefined;
    },
  };
}

/** Each rule is put in once, at the top; a rule that is there already is left alone. */
function renderRules(blockedNetworks: string[]): string {
  const blocked = [LINK_LOCAL, ...blockedNetworks];
  for (const network of blocked)
    if (!CIDR.test(network))
      throw new InfrastructureError('network-rules', `"${network}" is not a network such as 10.0.0.0/8`);
  const bridge = `-i ${BRIDGE_PREFIX}+`;
  const v4 = blocked.filter((network) => !network.includes(':'));
  const v6 = ['fe80::/10', ...blocked.filter((network) => network.includes(':'))];
  return [
    'PATH=/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin',
    'put() { "$1" -w -C "$2" $3 2>/dev/null || "$1" -w -I "$2" $3; }',
    'set -e',
    `put iptables INPUT '${bridge} -m conntrack ! --ctstate ESTABLISHED,RELATED -j REJECT'`,
    ...v4.map((network) => `put iptables DOCKER-USER '${bridge} -d ${network} -j REJECT'`),
    // Jobs' networks have no IPv6 unless the engine gives it to all; then its chains may have other names.
    'command -v ip6tables >/dev/null || exit 0',
    `put ip6tables INPUT '${bridge} -j REJECT' || exit 0`,
    ...v6.map((network) => `put ip6tables FORWARD '${bridge} -d ${network} -j REJECT' || exit 0`),
  ].join('\n');
}
