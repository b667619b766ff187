/**
 * Rules of the engine's packet filter for the bridges of jobs: no way to the engine's own host (its API, Redis, whatever
 * listens there), to link-local addresses (the metadata of clouds), and to what the operator names. Docker itself keeps
 * jobs apart from each other and from other containers; Podman does not, so rules of ours do (`guard`). A short-lived
 * container on the engine sets them with the engine's own iptables, so it is the same for a local engine and for one
 * across the network.
 */
import type Docker from 'dockerode';
import { InfrastructureError, messageOf } from '../../errors.ts';
import { isUnreachable } from './engine.ts';
import { askKind, type EngineKind } from './engine-kind.ts';
import { runOwnContainer } from './own-container.ts';

/** All bridges of jobs begin so; what follows is the slot's id. */
export const BRIDGE_PREFIX = 'ig';
const LINK_LOCAL = '169.254.0.0/16';
/** Exit code of the script. */
const NO_FILTER = 77;
/** Where rules stay in front of the engine's own. Podman has no chain for them. */
const CHAIN: Record<EngineKind['name'], string> = { Docker: 'DOCKER-USER', Podman: 'FORWARD' };
/** Podman's names are known to a program on its host, which listens at the bridge's own address. */
const NAMES = ['udp', 'tcp'].map(
  (protocol) => `-p ${protocol} --dport 53 -m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT`,
);
/** Of containers that are not ours: from these Podman keeps nobody, as it does from other jobs. */
const PODMAN_BRIDGES = ['podman+', 'cni-podman+'];
const CIDR = /^[0-9a-fA-F.:]+(\/\d{1,3})?$/;

export interface NetworkRules {
  /**
   * Sets the rules once. Gives a sentence of what does not hold where the engine can have no rules of ours (rootless,
   * no packet filter). Rejects `network-rules` when it can, and they could not be set.
   */
  ensure(): Promise<string | undefined>;
  /** Why the last try failed, undefined if it did not: then another is under way. */
  trouble(): string | undefined;
  /** The engine was restarted, its host perhaps as well: the next `ensure` sets them again. */
  forget(): void;
}

export interface RulesOptions {
  /** Networks (CIDR) that no step may reach. */
  blocked: string[];
  /**
   * Gives an image that is on the engine, with chroot. What runs in it sees the whole disk of the engine's host, so it
   * must be the operator's: `chroot` of an image that a pipeline names is a stranger's program.
   */
  image: () => Promise<string>;
  /** Hears what `ensure` gives, once. */
  onCaveat?: (caveat: string) => void;
}

export function createNetworkRules(
  docker: Docker,
  labels: Record<string, string>,
  { blocked, image, onCaveat }: RulesOptions,
): NetworkRules {
  let set: Promise<string | undefined> | undefined;
  let fault: string | undefined;
  // An operator's mistake is one before any engine is asked.
  renderRules(blocked);

  async function apply(): Promise<string | undefined> {
    const kind = await askKind(docker);
    try {
      const { code, text } = await runOwnContainer(docker, {
        what: 'set network rules',
        image: await image(),
        command: ['chroot', '/engine', '/bin/sh', '-c', renderRules(blocked, kind.name)],
        labels,
        capabilities: ['NET_ADMIN', 'NET_RAW', 'SYS_CHROOT'],
        host: { NetworkMode: 'host', Binds: ['/:/engine'] },
      });
      if (code === 0) return undefined;
      if (code === NO_FILTER) return caveat(`the engine has no packet filter of its own (chain ${CHAIN[kind.name]})`);
      throw new InfrastructureError('network-rules', text.trim().slice(0, 300));
    } catch (error) {
      if (isUnreachable(error)) throw error;
      if (kind.rootless) return caveat('rules of its packet filter cannot be set with a rootless engine');
      throw new InfrastructureError(
        'network-rules',
        `No job is run, because its steps could not be kept from the engine's host by a container of IMPGEM_IMAGE: ${messageOf(error)}`,
        { cause: error, retryable: true },
      );
    }
  }

  function ensure(): Promise<string | undefined> {
    if (set) return set;
    const attempt = apply();
    set = attempt;
    attempt.then(
      (caveat) => {
        fault = undefined;
        if (caveat !== undefined) onCaveat?.(caveat);
      },
      (error: unknown) => {
        if (!isUnreachable(error)) fault = messageOf(error);
        if (set === attempt) set = undefined;
      },
    );
    return attempt;
  }

  return {
    ensure,
    trouble() {
      // Whoever takes no job because of it would never hear that it is over.
      if (fault !== undefined) ensure().catch(() => undefined);
      return fault;
    },
    forget: () => {
      set = undefined;
    },
  };
}

const caveat = (why: string): string => `steps may reach services of the engine's host: ${why}`;

/**
 * Each rule is put in once, at the top; a rule that is there already is left alone. Of several programs for packet filters
 * (old and new tables are apart in the kernel) the engine uses one: the one that knows a chain of the engine's.
 */
export function renderRules(blockedNetworks: string[], engine: EngineKind['name'] = 'Docker'): string {
  const blocked = [LINK_LOCAL, ...blockedNetworks];
  for (const network of blocked)
    if (!CIDR.test(network))
      throw new InfrastructureError('network-rules', `"${network}" is not a network such as 10.0.0.0/8`);
  const bridge = `-i ${BRIDGE_PREFIX}+`;
  const chain = CHAIN[engine];
  const podman = engine === 'Podman';
  const v4 = blocked.filter((network) => !network.includes(':'));
  const v6 = ['fe80::/10', ...blocked.filter((network) => network.includes(':'))];
  return [
    'PATH=/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin',
    'put() { "$1" -w -C "$2" $3 2>/dev/null || "$1" -w -I "$2" $3; }',
    // The engine takes its chains out and puts them back for each network that it makes: for a moment nothing is refused, and
    // between jobs nothing kept apart. What passes then ends here, behind its rules; before them where there is no such table.
    'guard() { put "$filter" FORWARD "-t security $1 -j DROP" 2>/dev/null || put "$filter" FORWARD "-t mangle $1 -j DROP"; }',
    `has_chain() { "$1" -w -n -L ${chain} >/dev/null 2>&1; }`,
    'filter=',
    'for each in iptables iptables-legacy iptables-nft; do has_chain "$each" && filter=$each && break; done',
    // Without that chain there is still the way to the host itself.
    `[ -n "$filter" ] || { command -v iptables >/dev/null || exit ${NO_FILTER}; filter=iptables; }`,
    'set -e',
    `put "$filter" INPUT '${bridge} -m conntrack ! --ctstate ESTABLISHED,RELATED -j REJECT'`,
    ...(podman ? NAMES.map((rule) => `put "$filter" INPUT '${bridge} ${rule}'`) : []),
    `has_chain "$filter" || exit ${NO_FILTER}`,
    ...v4.map((network) => `put "$filter" ${chain} '${bridge} -d ${network} -j REJECT'`),
    ...v4.map((network) => `guard '${bridge} -d ${network}'`),
    `guard '${bridge} -o ${BRIDGE_PREFIX}+ -m physdev ! --physdev-is-bridged' || true`,
    ...(podman ? PODMAN_BRIDGES.map((name) => `guard '${bridge} -o ${name}'`) : []),
    // Jobs' networks have no IPv6 unless the engine gives it to all; then its chains may have other names.
    'filter=ip6${filter#ip}',
    'command -v "$filter" >/dev/null || exit 0',
    `put "$filter" INPUT '${bridge} -j REJECT' || exit 0`,
    ...v6.map((network) => `put "$filter" FORWARD '${bridge} -d ${network} -j REJECT' || exit 0`),
    ...v6.map((network) => `guard '${bridge} -d ${network}' || exit 0`),
  ].join('\n');
}
