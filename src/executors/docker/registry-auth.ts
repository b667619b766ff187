import { ImpGemError } from '../../errors.ts';

export interface RegistryAuth {
  username?: string;
  password?: string;
  identitytoken?: string;
  serveraddress: string;
}

/** Credentials by registry, out of the text of a ~/.docker/config.json. Throws ImpGemError `registry-auth`, quoting nothing of it. */
export function readRegistryAuths(text: string | undefined): (registry: string) => RegistryAuth | undefined {
  const auths = text === undefined ? {} : readAuths(text);
  return (registry) => {
    const names =
      registry === 'docker.io' ? ['https://index.docker.io/v1/', 'index.docker.io', 'docker.io'] : [registry];
    for (const name of names.flatMap((host) => [host, `https://${host}`, `http://${host}`])) {
      const entry = auths[name];
      if (entry) return { ...credentials(entry), serveraddress: name };
    }
    return undefined;
  };
}

type Entry = Partial<Record<'auth' | 'username' | 'password' | 'identitytoken', unknown>>;

function readAuths(text: string): Record<string, Entry> {
  try {
    const { auths } = JSON.parse(text) as { auths?: unknown };
    if (typeof auths === 'object' && auths !== null) return auths as Record<string, Entry>;
  } catch {
    // The parser's message would quote what is secret.
  }
  throw new ImpGemError(
    'registry-auth',
    'DOCKER_AUTH_CONFIG must be the text of a Docker config.json: {"auths": {"registry.example.com": {"auth": "..."}}}',
  );
}

function credentials(entry: Entry): Omit<RegistryAuth, 'serveraddress'> {
  if (typeof entry.identitytoken === 'string') return { identitytoken: entry.identitytoken };
  if (typeof entry.auth === 'string') {
    const [username = '', ...password] = Buffer.from(entry.auth, 'base64').toString().split(':');
    return { username, password: password.join(':') };
  }
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return { username: text(entry.username), password: text(entry.password) };
}
