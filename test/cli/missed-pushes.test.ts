import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLogger } from '../../src/cli/logger.ts';
import { findMissedPushes } from '../../src/cli/missed-pushes.ts';
import { createMetrics } from '../../src/server/metrics.ts';
import { fakeDelivery } from '../support/fake-hooks.ts';
import { type IntakeFixture, SECRET, startIntake } from '../support/intake-fixture.ts';

let fixture: IntakeFixture;
beforeAll(async () => {
  fixture = await startIntake();
});
afterAll(() => fixture.close());

it('counts what was missed: found by its branch head, and asked for again', async () => {
  const metrics = createMetrics();
  const { redis, forges, git, planner, runs, remote } = fixture;
  const settings = { ...fixture.settings, IMPGEM_CATCH_UP: '1h' };
  const log = createLogger('test', settings);
  const { store, queues } = runs;
  const allowed = (): boolean => true;
  const missed = findMissedPushes({ settings, redis, forges, git, planner, store, queues, metrics, log, allowed });
  const repository = await fixture.repository('ann/missed');
  const sha = await repository.commit({ '.impgem.yml': 'steps: [{ run: "true" }]\n' });
  // Catch-up asks for repositories that ever had a run.
  await planner.plan(
    {
      kind: 'manual',
      repository: 'github/ann/missed',
      ref: 'refs/heads/main',
      branch: 'main',
      message: '',
      author: '',
      receivedAt: new Date().toISOString(),
    },
    'by hand',
  );
  expect(await missed?.look()).toBe(0);
  expect(metrics.render([])).not.toMatch(/^impgem_(catch_up|redelivered)_total.* \d/m);

  const url = `${remote.url}/webhooks/github`;
  const deliveries = [fakeDelivery('lost', 0, 3600)];
  fixture.forge.webhooks.hooks.push({ id: 7, repository: 'ann/missed', url, secret: SECRET, deliveries });
  await repository.commit({ 'file.txt': sha });
  await redis.del('ig:heads-turn:github/ann/missed');
  expect(await missed?.look()).toBe(1);
  missed?.close();
  expect(metrics.render([])).toMatch(/^impgem_catch_up_total 1$/m);
  expect(metrics.render([])).toMatch(/^impgem_redelivered_total\{forge="github"\} 1$/m);
});
