import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { buildEnvironment, VARIABLES } from '../../src/worker/environment.ts';
import { MAX_VARIABLE_BYTES } from '../../src/worker/handover.ts';
import type { Assignment } from '../../src/worker/ports.ts';
import { assignment, jobSpec, stepSpec } from '../support/job-fixture.ts';

const NO_LAYERS = { job: {}, handedOn: new Map<string, string>(), step: {}, secrets: new Map<string, string>() };
const STEP = { name: 'build', index: 2, retry: 0 };
const environmentOf = (change: Partial<Assignment>, layers = {}) =>
  buildEnvironment(
    { assignment: assignment(jobSpec([stepSpec('true')]), change), step: STEP },
    { ...NO_LAYERS, ...layers },
  );

describe('environment of a step', () => {
  it('has the names that people know, for a push', () => {
    expect(environmentOf({})).toMatchObject({
      CI: 'true',
      IMPGEM: 'true',
      CI_COMMIT_SHA: 'a'.repeat(40),
      CI_COMMIT_REF: 'refs/heads/main',
      CI_COMMIT_BRANCH: 'main',
      CI_COMMIT_MESSAGE: 'Add a thing\n\nwith a body',
      CI_COMMIT_AUTHOR: 'Ann',
      CI_COMMIT_AUTHOR_EMAIL: 'ann@example.org',
      CI_PREV_COMMIT_SHA: 'b'.repeat(40),
      CI_REPO: 'acme/app',
      CI_REPO_OWNER: 'acme',
      CI_REPO_NAME: 'app',
      CI_REPO_URL: 'http://git.example/acme/app',
      CI_REPO_DEFAULT_BRANCH: 'main',
      CI_PIPELINE_NUMBER: '7',
      CI_PIPELINE_EVENT: 'push',
      CI_PIPELINE_URL: 'http://ci.example/runs/1',
      CI_PIPELINE_CREATED: '1767323045',
      CI_PIPELINE_STARTED: '1767323046',
      CI_STEP_NAME: 'build',
      CI_STEP_NUMBER: '2',
      CI_WORKSPACE: '/workspace',
      CI_FORGE_TYPE: 'gitea',
      CI_SYSTEM_NAME: 'impgem',
      IMPGEM_RUN: '0000test',
      IMPGEM_REPOSITORY: 'gitea/acme/app',
      IMPGEM_JOB: 'test',
      IMPGEM_ATTEMPT: '1',
      IMPGEM_OUTPUT: '/impgem/step/output',
    });
  });

  it('has no variable without a value, and none of other systems', () => {
    const names = Object.keys(environmentOf({}));
    for (const name of ['CI_COMMIT_TAG', 'CI_COMMIT_PULL_REQUEST', 'CI_COMMIT_SOURCE_BRANCH', 'IMPGEM_CRON'])
      expect(names).not.toContain(name);
    expect(names.filter((name) => /^(GITHUB|GITLAB)/.test(name))).toEqual([]);
  });

  it('tells a pull request by its two branches', () => {
    const base = assignment(jobSpec([stepSpec('true')]));
    const event = {
      ...base.event,
      kind: 'pull_request' as const,
      pullRequest: {
        number: 3,
        title: 'x',
        action: 'opened',
        sourceBranch: 'topic',
        targetBranch: 'main',
        fork: false,
      },
    };
    expect(environmentOf({ event })).toMatchObject({
      CI_COMMIT_BRANCH: 'main',
      CI_COMMIT_PULL_REQUEST: '3',
      CI_COMMIT_SOURCE_BRANCH: 'topic',
      CI_COMMIT_TARGET_BRANCH: 'main',
    });
  });

  it('puts step over handed on over job, secrets over these, and its own over all but CI', () => {
    const found = environmentOf(
      {},
      {
        job: { CI: 'job', A: 'job', B: 'job', C: 'job', CI_FLAVOUR: 'gem' },
        handedOn: new Map([
          ['B', 'handed'],
          ['C', 'handed'],
        ]),
        step: { C: 'step', CI: 'false', CI_REPO: 'mine', IMPGEM_RUN: 'mine', D: 'step' },
        secrets: new Map([['D', 'secret']]),
      },
    );
    expect(found).toMatchObject({
      CI: 'false',
      A: 'job',
      B: 'handed',
      C: 'step',
      D: 'secret',
      CI_FLAVOUR: 'gem',
      CI_REPO: 'acme/app',
      IMPGEM_RUN: '0000test',
    });
  });

  it('keeps a message as it is, but for what no process can be handed', () => {
    const base = assignment(jobSpec([stepSpec('true')]));
    const message = '$(touch /tmp/x)`id`;"\'\n<img onerror=1> \u001b[31m';
    expect(environmentOf({ run: { ...base.run, message } })['CI_COMMIT_MESSAGE']).toBe(message);
    const huge = environmentOf({ run: { ...base.run, message: `a\0b${'é'.repeat(1_000_000)}` } })['CI_COMMIT_MESSAGE'];
    expect(huge?.startsWith('abé')).toBe(true);
    expect(Buffer.byteLength(huge ?? '')).toBeLessThanOrEqual(MAX_VARIABLE_BYTES);
  });

  it('stands in the docs as the code has it', () => {
    const docs = readFileSync(new URL('../../docs/environment.md', import.meta.url), 'utf8');
    const rows = [...docs.matchAll(/^\| `([A-Z_]+)` +\| (.*?) +\| (.*?) +\|$/gm)]
      .map((row) => row.slice(1, 4))
      .filter(([name]) => VARIABLES.some((variable) => variable.name === name));
    const expected = VARIABLES.map(({ name, meaning, events }) => [
      name,
      meaning,
      events ? events.map((event) => `\`${event}\``).join(', ') : 'all',
    ]);
    expect(rows).toEqual(expected);
  });
});
