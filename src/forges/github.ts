import { InputError } from '../errors.ts';
import type { Forge } from './forge.ts';
import { nameHeader, parseDelivery } from './parse-delivery.ts';
import { parseBody } from './payload.ts';
import { postStatus } from './post-status.ts';
import { createRedeliver } from './redeliver.ts';
import { createVerifier } from './signature.ts';

export interface GitHubOptions {
  /** Where repositories are cloned from and pages are: `https://github.com`. */
  url: string;
  /** `https://api.github.com`. */
  apiUrl: string;
  token?: string;
  webhookSecret?: string;
}

export function createGitHub(options: GitHubOptions): Forge {
  const url = options.url.replace(/\/+$/, '');
  const { token } = options;
  const verify = createVerifier(options.webhookSecret);
  const target = {
    apiUrl: options.apiUrl,
    headers: {
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
    ...(token ? { token } : {}),
  };
  return {
    name: 'github',
    verify: (headers, body) => {
      const signature = headers['x-hub-signature-256'];
      // The bare `sha256=` is what a forge without a secret sends: the same as none.
      return verify(typeof signature === 'string' ? signature.replace(/^sha256=|^.*$/s, '') : undefined, body);
    },
    parse: (headers, body, receivedAt) => {
      if (headers['x-gitea-event'] !== undefined)
        throw new InputError(
          'wrong-forge',
          'x-gitea-event: this delivery is from Gitea; its address is /webhooks/gitea',
        );
      const forgeEvent = nameHeader(headers, 'x-github-event');
      const delivery = nameHeader(headers, 'x-github-delivery');
      return parseDelivery({ forge: 'github', delivery, forgeEvent, receivedAt }, parseBody(body));
    },
    postStatus: (status) => postStatus(target, status),
    ...(token ? { redeliver: createRedeliver(target) } : {}),
    clone: (owner, name) => ({
      url: `${url}/${owner}/${name}.git`,
      ...(token ? { credentials: { username: 'x-access-token', password: token } } : {}),
    }),
    page: (owner, name) => `${url}/${owner}/${name}`,
  };
}
