import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Product, pushBody, startProduct } from '../support/product.ts';

const PIPELINE = `jobs:
  build:
    steps:
      - name: compile
        run: |
          echo "building $CI_COMMIT_BRANCH of $CI_REPO"
          mkdir out && echo made > out/thing.txt
        artifacts: ["out/**"]
  test:
    needs: [build]
    steps:
      - { name: check, run: "git log -1 --format=%s" }
`;

let product: Product;
beforeAll(async () => {
  product = await startProduct();
  await product.startWorker();
});
afterAll(() => product.stop());

describe('a push', () => {
  it('becomes a green run with log, artifacts and commit statuses', async () => {
    const { delivery, sha } = await product.push(
      'gem/one',
      { '.impgem.yml': PIPELINE },
      { message: 'Add the pipeline' },
    );
    const run = await product.runOf(delivery);
    expect(run).toMatchObject({
      state: 'succeeded',
      repository: 'gitea/gem/one',
      branch: 'main',
      sha,
      message: 'Add the pipeline',
      event: 'push',
      delivery,
      number: 1,
      jobs: [
        {
          name: 'build',
          state: 'succeeded',
          attempt: 1,
          worker: 'w1',
          steps: [{ name: 'compile', state: 'succeeded', exitCode: 0 }],
        },
        { name: 'test', state: 'succeeded', needs: ['build'] },
      ],
    });
    expect(await product.api(`/api/deliveries/${delivery}`)).toMatchObject({
      state: 'planned',
      forge: 'gitea',
      event: 'push',
      runs: [run.id],
    });

    const log = await (await fetch(`${product.url}/api/runs/${run.id}/logs?job=build&step=compile`)).text();
    expect(log).toBe('building main of gem/one\n');
    const manifest = await product.api<{ artifacts: { path: string; sha256: string }[] }>(
      `/api/runs/${run.id}/artifacts`,
    );
    expect(manifest.artifacts).toMatchObject([{ job: 'build', path: 'out/thing.txt', size: 5 }]);
    expect(await (await fetch(`${product.url}/api/runs/${run.id}/artifacts/build/out/thing.txt`)).text()).toBe(
      'made\n',
    );

    await product.forge.posted(5);
    // What waits for another job says so, and that it runs then.
    const expected = { build: ['pending', 'success'], test: ['pending', 'pending', 'success'] };
    for (const [job, states] of Object.entries(expected)) {
      const posts = product.forge.posts.filter((post) => post.context === `impgem/${job}` && post.sha === sha);
      expect(posts.map((post) => post.state)).toEqual(states);
      expect(posts.at(-1)?.target_url).toMatch(new RegExp(`/runs/${run.id}$`));
    }
  });

  it('that fails ends red, and the step that failed says how', async () => {
    const { delivery } = await product.push('gem/red', {
      '.impgem.yml': 'steps:\n  - { name: bad, run: exit 7 }\n  - run: echo never\n',
    });
    const run = await product.runOf(delivery);
    expect(run).toMatchObject({
      state: 'failed',
      jobs: [{ state: 'failed', steps: [{ state: 'failed', exitCode: 7 }, { state: 'skipped' }] }],
    });
  });

  it('without a pipeline file leads to no run, and the delivery says so', async () => {
    const { delivery } = await product.push('gem/none', { 'README.md': 'hi' });
    await expect
      .poll(() => product.api(`/api/deliveries/${delivery}`), { timeout: 10_000 })
      .toMatchObject({ state: 'ignored', runs: [], reason: expect.stringContaining('.impgem.yml') });
  });

  it('with an invalid file ends errored, with every mistake in the log and the first in the status', async () => {
    const { delivery, sha } = await product.push('gem/bad', { '.impgem.yml': 'stepz:\n  - run: true\nimage: [1]\n' });
    const run = await product.runOf(delivery);
    expect(run.state).toBe('errored');
    const log = await (await fetch(`${product.url}/api/runs/${run.id}/logs`)).text();
    expect(log).toMatch(/\.impgem\.yml:1:1/);
    expect(log).toMatch(/did you mean.*steps/i);
    expect(log).toMatch(/\.impgem\.yml:3:/);
    await expect
      .poll(() => product.forge.posts.filter((post) => post.sha === sha).at(-1))
      .toMatchObject({ state: 'error', context: 'impgem' });
  });

  it('is one run, however often and at once it is delivered', async () => {
    const repository = await product.repository('gem/twice');
    const sha = await repository.commit({ '.impgem.yml': 'steps: [{ run: "true" }]\n' });
    const body = pushBody('gem/twice', 'main', '0'.repeat(40), sha, 'Change');
    const headers = { 'x-gitea-delivery': 'the-same-one', 'x-github-delivery': 'the-same-one' };
    const answers = await Promise.all(Array.from({ length: 10 }, () => product.send('push', body, headers)));
    expect(answers.map((one) => one.status)).toEqual(Array(10).fill(202));
    expect(answers.filter((one) => one.body.result === 'accepted')).toHaveLength(1);
    const run = await product.runOf('the-same-one');
    expect(await product.api('/api/runs?repository=gitea/gem/twice')).toMatchObject({ runs: [{ id: run.id }] });
    // Of this server no other delivery came twice.
    expect(await product.metric('impgem_intake_total', 'forge="gitea",result="duplicate"')).toBe(9);
    expect(await product.metric('impgem_intake_total', 'forge="gitea",result="accepted"')).toBeGreaterThan(0);
  });

  it('of an unknown commit ends errored and says so', async () => {
    await product.push('gem/gone', { a: '1' });
    const { body } = await product.send('push', pushBody('gem/gone', 'main', '0'.repeat(40), 'e'.repeat(40), 'x'));
    const run = await product.runOf(body.delivery);
    expect(run).toMatchObject({ state: 'errored', sha: 'e'.repeat(40) });
    expect(await product.api(`/api/deliveries/${body.delivery}`)).toMatchObject({ state: 'failed' });
  });

  it('on a branch with a hostile name runs nothing of it', async () => {
    const branch = 'feature/$(touch${IFS}pwned)"q;&|';
    const { delivery } = await product.push(
      'gem/hostile',
      { '.impgem.yml': 'steps:\n  - { name: say, run: \'echo "[$CI_COMMIT_BRANCH]"; ls\' }\n' },
      { branch },
    );
    const run = await product.runOf(delivery);
    expect(run).toMatchObject({ state: 'succeeded', branch });
    const log = await (await fetch(`${product.url}/api/runs/${run.id}/logs?job=main&step=say`)).text();
    expect(log).toBe(`[${branch}]\n`);
    expect(existsSync(join(product.folder, 'pwned'))).toBe(false);
  });
});

describe('a manual run', () => {
  it('is started by ref, run again, and cancelled', async () => {
    const { sha } = await product.push(
      'gem/manual',
      { '.impgem.yml': 'steps: [{ name: wait, run: "echo up; sleep 600" }]\n', x: 'y' },
      { message: 'x [skip ci]' },
    );
    const started = await product.api<{ id: string; event: string }>('/api/runs', {
      method: 'POST',
      body: JSON.stringify({ repository: 'gitea/gem/manual', ref: 'main' }),
    });
    expect(started).toMatchObject({ event: 'manual', repository: 'gitea/gem/manual' });
    await expect
      .poll(
        () => fetch(`${product.url}/api/runs/${started.id}/logs?job=main&step=wait`).then((answer) => answer.text()),
        { timeout: 20_000 },
      )
      .toBe('up\n');
    await product.api(`/api/runs/${started.id}/cancel`, { method: 'POST' });
    await expect
      .poll(() => product.api(`/api/runs/${started.id}`), { timeout: 10_000 })
      .toMatchObject({ state: 'cancelled' });
    const ofCommit = await product.api<{ id: string }>('/api/runs', {
      method: 'POST',
      body: JSON.stringify({ repository: 'gitea/gem/manual', ref: sha }),
    });
    expect(ofCommit).toMatchObject({ event: 'manual', ref: sha, sha });
    await product.api(`/api/runs/${ofCommit.id}/cancel`, { method: 'POST' });
    const again = await product.api<{ id: string }>(`/api/runs/${started.id}/rerun`, { method: 'POST' });
    expect(again).toMatchObject({ rerunOf: started.id });
    await product.api(`/api/runs/${again.id}/cancel`, { method: 'POST' });
    await expect
      .poll(() => product.api(`/api/runs/${again.id}`), { timeout: 10_000 })
      .toMatchObject({ state: 'cancelled' });
    // Nothing of the step outlives it.
    expect(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })).not.toMatch(/^sleep 600$/m);
  });
});
