import { ImpGemError } from '../errors.ts';
import type { Forge } from './forge.ts';
import { nameHeader, parseDelivery } from './parse-delivery.ts';
import { parseBody } from './payload.ts';
import { postStatus } from './post-status.ts';
import { createVerifier } from './signature.ts';

export interface GiteaOptions {
  /** Where repositories are cloned from and pages are: `https://git.example.com`. */
  url: string;
  /** Default: `url` + `/api/v1`. */
  apiUrl?: string;
  token?: string;
  webhookSecret?: string;
}

/** Gitea, and Forgejo, which kept its API. That API does not list deliveries, so none can be asked for again. */
export function createGitea(options: GiteaOptions): Forge {
  const url = options.url.replace(/\/+$/, '');
  const { token } = options;
  if (options.apiUrl === undefined && !/^https?:/.test(url))
    throw new ImpGemError(
      'settings-invalid',
      'IMPGEM_GITEA_API_URL: must be set, as IMPGEM_GITEA_URL is not an http address',
    );
  const verify = createVerifier(options.webhookSecret);
  const target = {
    apiUrl: options.apiUrl ?? `${url}/api/v1`,
    headers: { accept: 'application/json', ...(token ? { authorization: `token ${token}` } : {}) },
    ...(token ? { token } : {}),
  };
  return {
    name: 'gitea',
    verify: (headers, body) => {
      // Hex without a prefix. Gitea sends GitHub's and Gogs' headers as well; this one is its own.
      const signature = headers['x-gitea-signature'];
      return verify(typeof signature === 'string' ? signature : undefined, body);
    },
    parse: (headers, body, receivedAt) => {
      const forgeEvent = nameHeader(headers, 'x-gitea-event');
      const delivery = nameHeader(headers, 'x-gitea-delivery');
      return parseDelivery({ forge: 'gitea', delivery, forgeEvent, receivedAt }, parseBody(body));
    },
    postStatus: (status) => postStatus(target, status),
    clone: (owner, name) => ({
      url: `${url}/${owner}/${name}.git`,
      // Gitea takes a token as the password of any user name.
      ...(token ? { credentials: { username: 'impgem', password: token } } : {}),
    }),
    page: (owner, name) => `${url}/${owner}/${name}`,
  };
}
