import { describe, expect, it, test } from 'vitest';
import { ImpGemError, InfrastructureError } from '../../src/errors.ts';
import { createReplan, createTrigger, type Trigger } from '../../src/intake/trigger.ts';
import { isRefName } from '../../src/forges/ref-name.ts';
import type { PipelineEvent } from '../../src/runs/event.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { planOf, pushEvent } from '../support/plans.ts';

function triggerThat(plan: (event: PipelineEvent) => Error | undefined): { trigger: Trigger; events: PipelineEvent[] } {
  const events: PipelineEvent[] = [];
  const trigger = createTrigger({
    planner: {
      plan: (event) => {
        events.push(event);
        const error = plan(event);
        return error ? Promise.reject(error) : Promise.resolve({ runs: [], reason: 'no .impgem.yml' });
      },
    },
    forges: new Map([['gitea', {}]]),
    allowed: (repository) => repository !== 'gitea/evil/x',
    isRefName,
  });
  return { trigger, events };
}

const SHA = 'ab'.repeat(20);

describe('what a manual run may name', () => {
  test.each([
    ['main', { ref: 'refs/heads/main', branch: 'main' }],
    ['refs/heads/a/b', { ref: 'refs/heads/a/b', branch: 'a/b' }],
    ['refs/tags/v1', { ref: 'refs/tags/v1', tag: 'v1' }],
    [SHA, { ref: SHA, sha: SHA }],
  ])('%s', async (ref, expected) => {
    const { trigger, events } = triggerThat(() => undefined);
    await expect(trigger('gitea/ann/app', ref)).rejects.toMatchObject({ code: 'pipeline-missing', status: 422 });
    expect(events).toMatchObject([{ kind: 'manual', ...expected }]);
  });

  test.each([
    ['gitea/ann/app', 'a..b', 422, 'ref-invalid'],
    ['gitea/evil/x', 'main', 403, 'repository-not-allowed'],
    ['github/ann/app', 'main', 422, 'forge-unknown'],
    ['ann/app', 'main', 422, 'repository-invalid'],
  ])('%s at %s: %i', async (repository, ref, status, code) => {
    const { trigger, events } = triggerThat(() => undefined);
    await expect(trigger(repository, ref)).rejects.toMatchObject({ status, code });
    expect(events).toEqual([]);
  });
});

describe('what the forge does not give is the caller’s mistake, not ours', () => {
  test.each([
    [new ImpGemError('commit-unknown', 'no'), 404],
    [new InfrastructureError('git-no-repository', 'no'), 404],
    [new InfrastructureError('git-refused', 'no'), 422],
    [new InfrastructureError('git-redirected', 'no'), 422],
  ])('%o', async (error, status) => {
    const { trigger } = triggerThat(() => error);
    await expect(trigger('gitea/ann/app', 'main')).rejects.toMatchObject({
      name: 'InputError',
      status,
      code: error.code,
    });
  });

  it('a remote that is away stays ours', async () => {
    const error = new InfrastructureError('git-timeout', 'slow', { retryable: true });
    const { trigger } = triggerThat(() => error);
    await expect(trigger('gitea/ann/app', 'main')).rejects.toBe(error);
  });
});

describe('a run without a plan that is run again', () => {
  const record = newRecord({
    id: 'mjx00000r0123456789a',
    event: pushEvent(),
    sha: SHA,
    message: '',
    author: '',
    plan: planOf(),
    error: 'the file is not fit',
    createdAt: '2026-01-02T03:04:05.678Z',
  });

  it('plans its event as a newer one, for runs that name it', async () => {
    const asked: unknown[] = [];
    const replan = createReplan((rerunOf) => ({
      plan: (event) => {
        asked.push({ rerunOf, sha: event.sha, isNewer: event.receivedAt > record.createdAt });
        return Promise.resolve({ runs: [record] });
      },
    }));
    expect(await replan(record)).toEqual([record]);
    expect(asked).toEqual([{ rerunOf: record.id, sha: record.source.sha, isNewer: true }]);
  });

  it('is refused when its commit is gone', async () => {
    const replan = createReplan(() => ({ plan: () => Promise.reject(new ImpGemError('commit-unknown', 'no')) }));
    await expect(replan(record)).rejects.toMatchObject({ name: 'InputError', code: 'commit-unknown', status: 404 });
  });
});
