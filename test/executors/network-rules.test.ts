/** The script that sets rules on an engine's host, with packet filters that only write down what they were told. */
import { execa } from 'execa';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { renderRules } from '../../src/executors/docker/network-rules.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const NO_FILTER = 77;

/** What each program can do: nothing at all (its tables are not in the kernel), set rules, or those of the engine, too, but for one table. */
type Filter = 'broken' | 'plain' | 'engine' | 'without table';

/** Gives the exit code, and a line for each rule that was put in. */
async function run(
  filters: Record<string, Filter>,
  engine: 'Docker' | 'Podman' = 'Docker',
): Promise<{ exitCode: number | undefined; rules: string[] }> {
  const folder = await temporaryFolder();
  const programs = join(folder, 'bin');
  await mkdir(programs);
  for (const [name, filter] of Object.entries(filters)) {
    const refused = { broken: '*', plain: '*DOCKER-USER*', engine: '', 'without table': '*security*' }[filter];
    const script = `#!/bin/sh
case "$*" in ${refused || "''"}) exit 3 ;; *' -C '*) exit 1 ;; *' -I '*) echo "\${0##*/} $*" ;; esac
`;
    await writeFile(join(programs, name), script, { mode: 0o755 });
  }
  const script = renderRules(['10.9.0.0/16', 'fd00::/8'], engine).replace(/^PATH=.*$/m, `PATH=${programs}`);
  const { exitCode, stdout } = await execa('/bin/sh', ['-c', script], { reject: false });
  return { exitCode, rules: stdout.split('\n').filter(Boolean) };
}

const rulesOf = (v4: string, v6: string): string[] => [
  `${v4} -w -I INPUT -i ig+ -m conntrack ! --ctstate ESTABLISHED,RELATED -j REJECT`,
  `${v4} -w -I DOCKER-USER -i ig+ -d 169.254.0.0/16 -j REJECT`,
  `${v4} -w -I DOCKER-USER -i ig+ -d 10.9.0.0/16 -j REJECT`,
  `${v4} -w -I FORWARD -t security -i ig+ -d 169.254.0.0/16 -j DROP`,
  `${v4} -w -I FORWARD -t security -i ig+ -d 10.9.0.0/16 -j DROP`,
  `${v4} -w -I FORWARD -t security -i ig+ -o ig+ -m physdev ! --physdev-is-bridged -j DROP`,
  `${v6} -w -I INPUT -i ig+ -j REJECT`,
  `${v6} -w -I FORWARD -i ig+ -d fe80::/10 -j REJECT`,
  `${v6} -w -I FORWARD -i ig+ -d fd00::/8 -j REJECT`,
  `${v6} -w -I FORWARD -t security -i ig+ -d fe80::/10 -j DROP`,
  `${v6} -w -I FORWARD -t security -i ig+ -d fd00::/8 -j DROP`,
];

it('uses the filter that the host uses by itself', async () => {
  const all = { iptables: 'engine', 'iptables-legacy': 'plain', ip6tables: 'plain' } as const;
  expect(await run(all)).toEqual({ exitCode: 0, rules: rulesOf('iptables', 'ip6tables') });
});

it.each(['legacy', 'nft'])('uses another where the engine has its chains there: iptables-%s', async (kind) => {
  for (const iptables of ['broken', 'plain'] as const)
    expect(
      await run({ iptables, ip6tables: iptables, [`iptables-${kind}`]: 'engine', [`ip6tables-${kind}`]: 'engine' }),
    ).toEqual({ exitCode: 0, rules: rulesOf(`iptables-${kind}`, `ip6tables-${kind}`) });
});

it('uses another table where the kernel has not the one behind the engine', async () => {
  const none = { iptables: 'without table', ip6tables: 'without table' } as const;
  const rules = rulesOf('iptables', 'ip6tables').map((rule) => rule.replace('-t security', '-t mangle'));
  expect(await run(none)).toEqual({ exitCode: 0, rules });
});

it('says when no filter has a chain of the engine, and closes the way to the host all the same', async () => {
  const none = await run({ iptables: 'plain', 'iptables-legacy': 'broken' });
  expect(none).toEqual({ exitCode: NO_FILTER, rules: rulesOf('iptables', 'ip6tables').slice(0, 1) });
  expect(await run({})).toEqual({ exitCode: NO_FILTER, rules: [] });
});

it('needs no chain of the engine on Podman, whose program for names stays in reach', async () => {
  const names = (protocol: string) =>
    `iptables -w -I INPUT -i ig+ -p ${protocol} --dport 53 -m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT`;
  const [host = '', ...others] = rulesOf('iptables', 'ip6tables').map((rule) => rule.replace('DOCKER-USER', 'FORWARD'));
  const strangers = ['podman+', 'cni-podman+'].map(
    (name) => `iptables -w -I FORWARD -t security -i ig+ -o ${name} -j DROP`,
  );
  const rules = [host, names('udp'), names('tcp'), ...others.slice(0, 5), ...strangers, ...others.slice(5)];
  expect(await run({ iptables: 'plain', ip6tables: 'plain' }, 'Podman')).toEqual({ exitCode: 0, rules });
});

it('is an error when rules can be set in none that is there', async () => {
  expect((await run({ iptables: 'broken', 'iptables-legacy': 'broken' })).exitCode).toBe(3);
});

it('takes no network that is none', () => {
  expect(() => renderRules(['10.0.0.0/8; reboot'])).toThrow('is not a network such as 10.0.0.0/8');
});
