/**
 * A stand-in for a forge's statuses API (GitHub and Gitea) and GitHub's API of webhooks on a real loopback socket, and
 * deliveries signed like theirs.
 */
import { createHmac } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ForgeName } from '../../src/runs/event.ts';
import { type FakeDelivery, type FakeHooks, answerHooks } from './fake-hooks.ts';

interface PostedStatus {
  /** `owner/name`. */
  repository: string;
  sha: string;
  state: string;
  context: string;
  description: string;
  target_url: string;
  authorization: string | undefined;
}

/**
 * How one request is answered; `drop` closes the connection, `take-and-drop` does so after the status was taken, `hold`
 * answers when `release()` is called. `delayMs`: the request is looked at that much later.
 */
export type Behaviour =
  | { kind: 'answer'; status: number; headers?: Record<string, string>; body?: string; delayMs?: number }
  | { kind: 'drop' }
  | { kind: 'take-and-drop' }
  | { kind: 'hold' };

export interface FakeForge {
  url: string;
  /** GitHub's API root; Gitea's is `url` + `/api/v1`. Both are served. */
  apiUrl: string;
  /** What was accepted, in order. */
  posts: PostedStatus[];
  /** GitHub's webhooks. */
  webhooks: FakeHooks;
  /** Headers of every answer about webhooks. */
  hookHeaders: Record<string, string>;
  /** Method and address of each request taken. */
  requests: string[];
  /** Requests taken, whatever became of them. */
  attempts: number;
  /** Behaviours of the next requests, one each; then what `weather` says; then 201. */
  next: Behaviour[];
  weather: (() => Behaviour) | undefined;
  /** Answers what is held, the last first. */
  release(): void;
  /** Waits until as many statuses were accepted. */
  posted(count: number): Promise<void>;
  /** Waits until as many requests were taken. */
  attempted(count: number): Promise<void>;
  close(): Promise<void>;
}

/** On loopback unless told otherwise; port 0 takes a free one. */
export async function startFakeForge({ host = '127.0.0.1', port = 0 } = {}): Promise<FakeForge> {
  const changed = new EventEmitter().setMaxListeners(0);
  const held: (() => void)[] = [];
  const until = async (isDone: () => boolean) => {
    while (!isDone()) await once(changed, 'change');
  };

  const server = createServer((request, response) => {
    void respond(request, response).catch(() => undefined);
  });

  // Rejects when the other side goes away before its request is whole.
  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    forge.attempts++;
    forge.requests.push(`${request.method} ${request.url}`);
    const behaviour = forge.next.shift() ?? forge.weather?.() ?? { kind: 'answer', status: 201 };
    if (behaviour.kind === 'answer' && behaviour.delayMs !== undefined) await sleep(behaviour.delayMs);
    const hooks =
      behaviour.kind === 'answer' && behaviour.status === 201
        ? await answerHooks(forge.webhooks, signAgain, request.method, request.url)
        : undefined;
    if (hooks) response.writeHead(hooks.status, { ...hooks.headers, ...forge.hookHeaders }).end(hooks.body);
    else if (behaviour.kind === 'drop') request.socket.destroy();
    else if (behaviour.kind === 'take-and-drop') {
      request.socket.destroy();
      accept(request, response, body);
    } else if (behaviour.kind === 'hold') held.push(() => accept(request, response, body));
    else if (behaviour.status === 201) accept(request, response, body);
    else
      response
        .writeHead(behaviour.status, { 'content-type': 'application/json', ...behaviour.headers })
        .end(behaviour.body ?? JSON.stringify({ message: 'told to fail' }));
    changed.emit('change');
  }

  function accept(request: IncomingMessage, response: ServerResponse, body: string): void {
    const match = /^(?:\/api\/v1)?\/repos\/([^/]+\/[^/]+)\/statuses\/([0-9a-f]+)$/.exec(request.url ?? '');
    const status = JSON.parse(body) as Omit<PostedStatus, 'repository' | 'sha' | 'authorization'>;
    const wrong = Array.from(status.description).length > 140 ? 422 : 404;
    if (!match || request.method !== 'POST' || wrong === 422) {
      response.writeHead(wrong).end(JSON.stringify({ message: 'Validation Failed' }));
      return;
    }
    const [, repository = '', sha = ''] = match;
    forge.posts.push({ ...status, repository, sha, authorization: request.headers.authorization });
    response.writeHead(201, { 'content-type': 'application/json' }).end('{}');
    changed.emit('change');
  }

  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const forge: FakeForge = {
    url,
    apiUrl: url,
    posts: [],
    attempts: 0,
    webhooks: { hooks: [], pageSize: 100 },
    hookHeaders: {},
    requests: [],
    next: [],
    weather: undefined,
    release: () => {
      for (const answer of held.splice(0).reverse()) answer();
    },
    posted: (count) => until(() => forge.posts.length >= count),
    attempted: (count) => until(() => forge.attempts >= count),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return forge;
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

const signAgain = (secret: string, { guid, event, body }: FakeDelivery): Record<string, string> =>
  signDelivery('github', secret, body, { delivery: guid, event });

let deliveries = 0;

/** The headers with which a forge sends this body. */
export function signDelivery(
  forge: ForgeName,
  secret: string,
  body: string | Buffer,
  options: { event?: string; delivery?: string } = {},
): Record<string, string> {
  const signature = createHmac('sha256', secret).update(body).digest('hex');
  const event = options.event ?? 'push';
  const delivery = options.delivery ?? `00000000-0000-4000-8000-${String(++deliveries).padStart(12, '0')}`;
  const github = {
    'content-type': 'application/json',
    'x-github-event': event,
    'x-github-delivery': delivery,
    'x-hub-signature-256': `sha256=${signature}`,
  };
  if (forge === 'github') return github;
  // Gitea sends GitHub's headers too.
  return { ...github, 'x-gitea-event': event, 'x-gitea-delivery': delivery, 'x-gitea-signature': signature };
}
