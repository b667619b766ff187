import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createGitHub } from '../../src/forges/github.ts';
import { createDeliveries } from '../../src/intake/deliveries.ts';
import { createIsLeft } from '../../src/intake/left-deliveries.ts';
import { eventId } from '../../src/intake/receive.ts';
import { type Redeliver, createRedelivery } from '../../src/intake/redelivery.ts';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { type Queues, createQueues } from '../../src/queue/queues.ts';
import type { PipelineEvent } from '../../src/runs/event.ts';
import { type FakeForge, startFakeForge } from '../support/fake-forge.ts';
import { fakeDelivery, type FakeDelivery } from '../support/fake-hooks.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';

const REPOSITORY = 'github/ann/app';
const SECRET = 'a-webhook-secret';
const HOOKS = 'GET /repos/ann/app/hooks?per_page=100';
const LIST = 'GET /repos/ann/app/hooks/7/deliveries?per_page=100';
const HOUR = 3600;

let server: TestRedis;
let redis: Redis;
let queues: Queues;
let forge: FakeForge;
let arrived: string[];
let answer: number;
let said: string[];
let sent: string[];
/** A receiver of deliveries on a real socket: `answer` to each. */
const receiver = createServer((request, response) => {
  arrived.push(String(request.headers['x-github-delivery']));
  response.writeHead(answer).end();
});
let url: string;

beforeAll(async () => {
  [server, forge] = await Promise.all([startRedis(), startFakeForge()]);
  redis = connectRedis(server.url, 'patient', () => undefined);
  queues = createQueues(redis, () => undefined);
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await queues.close();
  redis.disconnect();
  receiver.closeAllConnections();
  receiver.close();
  await Promise.all([server.stop(), forge.close()]);
});
beforeEach(async () => {
  await redis.flushall();
  [arrived, said, sent, answer] = [[], [], [], 202];
  forge.requests = [];
  forge.next = [];
  forge.hookHeaders = {};
  forge.webhooks = { hooks: [], pageSize: 100 };
});

function hook(deliveries: FakeDelivery[], more: { id?: number; url?: string; active?: boolean } = {}): void {
  const own = { id: 7, repository: 'ann/app', url: `${url}/webhooks/github`, secret: SECRET, deliveries, ...more };
  forge.webhooks.hooks.push(own);
}

function redelivery(publicUrl?: string): { look: () => Promise<void>; redeliver: Redeliver } {
  const github = createGitHub({
    url: 'https://github.com',
    apiUrl: forge.apiUrl,
    token: 'a-token',
    webhookSecret: SECRET,
  });
  const note = (fields: object, message: string): void => void said.push(`${JSON.stringify(fields)} ${message}`);
  const redeliver = createRedelivery({
    redis,
    forges: new Map([['github', github]]),
    deliveries: createDeliveries(redis),
    isLeft: createIsLeft(createDeliveries(redis), queues),
    publicUrl,
    onSent: (name) => sent.push(name),
    log: { info: () => undefined, warn: note },
  });
  return { redeliver, look: () => redeliver(REPOSITORY, new AbortController().signal) };
}

it('what got no answer or an error is sent again, the oldest first; what arrived or was refused is not', async () => {
  hook([
    fakeDelivery('arrived', 202, HOUR),
    fakeDelivery('no-answer', 0, 2 * HOUR),
    fakeDelivery('bad-gateway', 502, 3 * HOUR),
    fakeDelivery('refused', 401, HOUR),
    fakeDelivery('arrived-later', 200, HOUR),
    fakeDelivery('arrived-later', 503, 2 * HOUR),
    fakeDelivery('just-now', 0, 1),
    fakeDelivery('too-old', 0, 100 * HOUR),
  ]);
  const { look } = redelivery(url);
  await look();
  expect(arrived).toEqual(['bad-gateway', 'no-answer']);
  await look();
  expect(arrived).toHaveLength(2);
  // The webhook is known by now: a look is one request.
  expect(forge.requests.filter((request) => request.startsWith('GET'))).toEqual([HOOKS, LIST, LIST]);
  expect(said).toEqual([]);
});

it('one that fails each time is asked for three times', async () => {
  answer = 500;
  const deliveries = [fakeDelivery('hopeless', 500, 3 * HOUR)];
  hook(deliveries);
  for (let look = 0; look < 6; look++) {
    await redelivery(url).look();
    // Not young any more.
    for (const one of deliveries) one.delivered_at = new Date(Date.parse(one.delivered_at) - 60_000).toISOString();
  }
  expect(arrived).toHaveLength(3);
});

it('what we took, although the forge heard no answer, is not asked for; what a dying server took half is', async () => {
  hook([fakeDelivery('taken', 0, HOUR), fakeDelivery('half', 0, HOUR)]);
  for (const id of ['taken', 'half'])
    await createDeliveries(redis).accept({ id, forge: 'github', event: 'push', receivedAt: new Date().toISOString() });
  const event = { kind: 'push', repository: REPOSITORY } as PipelineEvent;
  await queues.addEvent(eventId('github', 'taken', 1), { event, tries: 1, turn: 1 });
  await redelivery(url).look();
  expect(arrived).toEqual(['half']);
});

it('reads on to older pages, within bounds', async () => {
  forge.webhooks.pageSize = 2;
  hook([1, 2, 3, 4, 5, 6, 7, 8].map((number) => fakeDelivery(`d${number}`, 0, number * HOUR)));
  await redelivery(url).look();
  expect(arrived).toEqual(['d6', 'd5', 'd4', 'd3', 'd2', 'd1']);
});

it('asks for twenty at most in a look', async () => {
  hook(Array.from({ length: 30 }, (_, number) => fakeDelivery(`d${number}`, 0, number * 60 + 60)));
  await redelivery(url).look();
  expect(arrived).toHaveLength(20);
});

it("another server's webhook is left alone", async () => {
  hook([fakeDelivery('theirs', 0, HOUR)], { url: `${url}/other/webhooks/github` });
  hook([fakeDelivery('switched-off', 0, HOUR)], { id: 8, active: false });
  await redelivery(url).look();
  expect(arrived).toEqual([]);
  // Without an address of ours to compare, the path must do.
  await redelivery().look();
  expect(arrived).toEqual(['theirs']);
});

it('a token that may not is said once and left alone', async () => {
  for (const status of [403, 404, 401]) {
    [forge.requests, said] = [[], []];
    forge.next = [{ kind: 'answer', status }];
    const { look } = redelivery(url);
    for (let count = 0; count < 3; count++) await look();
    expect(forge.requests).toEqual([HOOKS]);
    expect(said).toEqual([expect.stringContaining(`the forge answered ${status}: the token may not`)]);
    expect(said.join()).not.toContain('a-token');
  }
});

it('a forge that is down is asked again at the next look, and said once', async () => {
  hook([fakeDelivery('lost', 0, HOUR)]);
  forge.next = [{ kind: 'drop' }, { kind: 'answer', status: 500 }];
  const { look } = redelivery(url);
  for (let count = 0; count < 3; count++) await look();
  expect(arrived).toEqual(['lost']);
  expect(said).toHaveLength(1);
});

it('a rate limit is kept, and a quarter of the requests is left for statuses', async () => {
  hook([fakeDelivery('lost', 0, HOUR)]);
  forge.next = [{ kind: 'answer', status: 403, headers: { 'retry-after': '3600' } }];
  const limited = redelivery(url);
  for (let count = 0; count < 2; count++) await limited.look();
  expect(forge.requests).toHaveLength(1);

  const reset = String(Math.floor(Date.now() / 1000) + 3600);
  forge.hookHeaders = { 'x-ratelimit-limit': '5000', 'x-ratelimit-remaining': '1200', 'x-ratelimit-reset': reset };
  const sparing = redelivery(url);
  for (let count = 0; count < 2; count++) await sparing.look();
  expect(forge.requests).toHaveLength(2);
  expect(arrived).toEqual([]);
});

it('what was sent with the last request that is to spare counts as sent', async () => {
  hook([fakeDelivery('lost', 0, HOUR), fakeDelivery('left', 0, HOUR / 2)]);
  const reset = String(Math.floor(Date.now() / 1000) + 3600);
  const scarce = { 'x-ratelimit-limit': '5000', 'x-ratelimit-remaining': '1200', 'x-ratelimit-reset': reset };
  const usual = { kind: 'answer' as const, status: 201 };
  forge.next = [usual, usual, { kind: 'answer', status: 202, headers: scarce }];
  await redelivery(url).look();
  expect(sent).toEqual(['github']);
});

it('a webhook that was made anew is found in the same look', async () => {
  hook([]);
  const { look } = redelivery(url);
  await look();
  forge.webhooks.hooks = [];
  hook([fakeDelivery('lost', 0, HOUR)], { id: 8 });
  await look();
  expect(arrived).toEqual(['lost']);
  expect(said).toEqual([]);
});

it('an answer that makes no sense is no reason to stop', async () => {
  hook([fakeDelivery('lost', 0, HOUR)]);
  for (const body of ['<html>', '{}', '[null, 3, {"id": "../x", "config": {"url": 5}}]']) {
    forge.next = [{ kind: 'answer', status: 200, body }];
    await redelivery(url).look();
  }
  expect(arrived).toEqual([]);
});
