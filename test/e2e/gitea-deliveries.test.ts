import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Product, poll, startProduct } from '../support/product.ts';

const FIXTURES = resolve('test/fixtures/gitea');
/** What each real delivery must lead to: the runs' event and branch or tag, or the reason why there is none. */
const EXPECTED: Record<string, { event: string; branch?: string; tag?: string; sha: string } | RegExp | 'none'> = {
  // Its commit has no pipeline yet.
  '001': 'none',
  '002': { event: 'push', branch: 'main', sha: 'd954e947' },
  '003': { event: 'push', branch: 'main', sha: 'b58c01a0' },
  '004': { event: 'tag', tag: 'v1.0.0', sha: 'b58c01a0' },
  '005': /create/,
  // An annotated tag names a tag object; what is built is the commit behind it.
  '006': { event: 'tag', tag: 'v1.1.0', sha: 'b58c01a0' },
  '008': /create/,
  '009': { event: 'push', branch: 'fix/ünï-1', sha: '87648934' },
  '010': { event: 'push', branch: 'fix/ünï-1', sha: 'b58c01a0' },
  '011': /delet/,
  '012': /delete/,
  '013': /delete/,
  '015': { event: 'push', branch: 'topic', sha: '824acfdb' },
  '016': { event: 'pull_request', branch: 'main', sha: '824acfdb' },
  '018': { event: 'push', branch: 'feature/$(id)"q;&|', sha: 'c21f2e53' },
  '019': /closed/,
  '020': { event: 'pull_request', branch: 'main', sha: 'e4f856f7' },
  '021': { event: 'push', branch: 'topic', sha: 'e4f856f7' },
  '022': { event: 'pull_request', branch: 'main', sha: 'e4f856f7' },
  '023': /fork/,
  '024': /fork/,
  '025': { event: 'tag', tag: 'v2.0.0', sha: '73d65703' },
  '027': /release/,
  '028': /status/,
  '029': { event: 'push', branch: 'main', sha: '73d65703' },
};

let product: Product;
beforeAll(async () => {
  product = await startProduct({ IMPGEM_WEBHOOK_SECRET: 'fixture-secret', IMPGEM_CONCURRENCY: '4' });
  mkdirSync(join(product.folder, 'git/maria'), { recursive: true });
  const mirror = join(product.folder, 'git/maria/gem.git');
  execFileSync('git', ['clone', '-q', '--mirror', join(FIXTURES, 'gem.bundle'), mirror]);
  await product.startWorker();
});
afterAll(() => product.stop());

it('every real delivery of a Gitea server leads to what it means', async () => {
  const files = readdirSync(FIXTURES).filter((name) => name.endsWith('.json'));
  expect(files.map((name) => name.slice(0, 3))).toEqual(Object.keys(EXPECTED).sort());
  const outcomes = await Promise.all(
    files.map(async (name) => {
      const { headers, body } = JSON.parse(readFileSync(join(FIXTURES, name), 'utf8')) as {
        headers: Record<string, string>;
        body: string;
      };
      const { 'content-length': _, 'accept-encoding': __, ...kept } = headers;
      const response = await fetch(`${product.url}/webhooks/gitea`, { method: 'POST', headers: kept, body });
      return {
        name,
        status: response.status,
        receipt: (await response.json()) as { delivery: string; result: string; reason?: string },
      };
    }),
  );
  for (const { name, status, receipt } of outcomes) {
    const expected = EXPECTED[name.slice(0, 3)]!;
    expect(status, name).toBe(202);
    if (expected instanceof RegExp) {
      expect(receipt, name).toMatchObject({ result: 'ignored', reason: expect.stringMatching(expected) });
      continue;
    }
    expect(receipt.result, name).toBe('accepted');
    if (expected === 'none') {
      const delivery = `/api/deliveries/${receipt.delivery}`;
      await expect.poll(() => product.api(delivery), { timeout: 20_000 }).toMatchObject({ state: 'ignored', runs: [] });
      continue;
    }
    const run = await product.runOf(receipt.delivery);
    expect(run, name).toMatchObject({
      event: expected.event,
      state: 'succeeded',
      sha: expect.stringMatching(new RegExp(`^${expected.sha}`)),
      ...(expected.branch === undefined ? {} : { branch: expected.branch }),
      ...(expected.tag === undefined ? {} : { tag: expected.tag }),
    });
  }
  await poll(async () =>
    (await product.api<{ runs: unknown[] }>('/api/runs?state=running')).runs.length === 0 ? true : undefined,
  );
});
