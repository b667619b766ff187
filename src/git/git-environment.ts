import type { CloneSource } from '../forges/forge.ts';

/** What a git process may see of our own environment: where programs, proxies, certificates and the ssh agent are. */
const PASSED_ON = [
  ...['PATH', 'TMPDIR', 'SSH_AUTH_SOCK', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'GIT_SSL_CAINFO'],
  ...['http_proxy', 'https_proxy', 'no_proxy', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY', 'all_proxy'],
];

/** Settings that hold whatever a configuration file or a repository says. */
const FIXED: [string, string][] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['credential.helper', ''],
  // A redirect could lead inside our network.
  ['http.followRedirects', 'false'],
  // A server that stops sending ends the helper process too, also when nobody is left to kill it.
  ['http.lowSpeedLimit', '1'],
  // Nothing may vanish from a mirror that a running workspace borrows from: see pack-mirror.ts.
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  // Packs appear whole; loose objects would let a killed fetch leave a commit without its files.
  ['fetch.unpackLimit', '1'],
  ['submodule.recurse', 'false'],
  ['advice.detachedHead', 'false'],
];

export interface GitEnvironmentOptions {
  allowFile: boolean;
  /** ms of silence after which the transport gives up. */
  timeoutMs: number;
  source?: CloneSource;
  /** Further settings, `core.x` to value. */
  settings?: [string, string][];
}

/**
 * The complete environment of a git process. Credentials travel here and nowhere else: not in arguments, which `ps`
 * shows, and not in a configuration file. They are scoped to the forge's own address.
 */
export function gitEnvironment(options: GitEnvironmentOptions): Record<string, string> {
  const env: Record<string, string> = {
    LC_ALL: 'C',
    // ssh reads its known hosts from the account's home whatever this says.
    HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ALLOW_PROTOCOL: options.allowFile ? 'http:https:ssh:file' : 'http:https:ssh',
    GIT_SSH_COMMAND:
      'ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=15 -oServerAliveInterval=15',
    GIT_OPTIONAL_LOCKS: '0',
    // One object that unpacks to more ends git, not the machine. Large files are streamed, and need none of it.
    GIT_ALLOC_LIMIT: '2g',
  };
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  const settings = [...FIXED, ...(options.settings ?? [])];
  settings.push(['http.lowSpeedTime', String(Math.max(1, Math.ceil(options.timeoutMs / 1000)))]);
  const { source } = options;
  if (source?.credentials && /^https?:/.test(source.url))
    settings.push([`http.${new URL(source.url).origin}/.extraHeader`, `Authorization: ${basicAuthorization(source)}`]);
  env['GIT_CONFIG_COUNT'] = String(settings.length);
  for (const [index, [key, value]] of settings.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return env;
}

/** Value of the Authorization header; empty without credentials. */
export function basicAuthorization(source: CloneSource): string {
  if (!source.credentials) return '';
  const { username, password } = source.credentials;
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
