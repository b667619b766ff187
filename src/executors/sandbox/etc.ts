/**
 * The `/etc` of a sandbox: a copy of known-good entries, made once. A copy, because thirty mounts a step would double the
 * time it takes to start one. Only what every user of the machine may read is taken: no key, no shadow file.
 */
import { chmod, cp, lstat, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const ENTRIES = new Set(
  `alternatives bash.bashrc bash_completion.d ca-certificates ca-certificates.conf crypto-policies debian_version default-java
  environment ethertypes fonts gai.conf group host.conf hosts inputrc issue ld.so.cache ld.so.conf ld.so.conf.d locale.alias
  locale.conf localtime login.defs lsb-release machine-id magic magic.mime mailcap manpath.config maven mime.types mtab
  networks nsswitch.conf os-release passwd perl pki profile profile.d protocols redhat-release rpc services shells skel ssl
  terminfo timezone xattr.conf`.split(/\s+/),
);
const FAMILIES = /^(java|python|php|ruby|node|dotnet|lua|tcl|R|ImageMagick|ghc|llvm)[A-Za-z0-9._-]*$/;
/** Never, whatever their mode says. */
const NEVER = new Set(['private']);

/** Fills `folder` (made here). `extra`: full paths under /etc that the operator mounts. */
export async function copyEtc(folder: string, extra: string[]): Promise<void> {
  await mkdir(folder, { mode: 0o755 });
  const names = (await readdir('/etc')).filter((name) => ENTRIES.has(name) || FAMILIES.test(name));
  await Promise.all(names.map((name) => copyPublic(join('/etc', name), join(folder, name))));
  for (const path of extra) await cp(path, join(folder, path.slice('/etc/'.length)), { recursive: true, force: true });
  // A place for the machine's own resolv.conf, which may change while we run.
  await writeFile(join(folder, 'resolv.conf'), '', { flag: 'a' });
  await writeFile(join(folder, 'hosts'), '', { flag: 'a' });
  await chmod(folder, 0o755);
}

async function copyPublic(from: string, to: string): Promise<void> {
  await cp(from, to, {
    recursive: true,
    verbatimSymlinks: true,
    filter: async (source) => {
      const stat = await lstat(source);
      if (stat.isSymbolicLink()) return true;
      if (stat.isDirectory()) return (stat.mode & 0o005) === 0o005 && !NEVER.has(source.split('/').at(-1) ?? '');
      return stat.isFile() && (stat.mode & 0o004) !== 0;
    },
  });
}
