import { expect, it } from 'vitest';
import { createJobLog } from '../../src/worker/job-log.ts';
import type { Assignment } from '../../src/worker/ports.ts';
import { memoryPorts } from '../support/job-fixture.ts';

const ASSIGNMENT = { run: { id: 'r' }, spec: { id: 'j' }, attempt: 1 } as Assignment;

function open(secrets: Promise<ReadonlyMap<string, string>>) {
  const ports = memoryPorts('/nonexistent');
  const kept = new Map<string, unknown>();
  const journal = {
    load: (name: string) => kept.get(name),
    save: (name: string, value: unknown) => void kept.set(name, value),
  } as Parameters<typeof createJobLog>[2]['journal'];
  return { ports, log: createJobLog(ports.logs, ASSIGNMENT, { journal }, 0, secrets) };
}

it('shows no secret of the job, also in what is said before the secrets are known', async () => {
  let known: (values: ReadonlyMap<string, string>) => void = () => undefined;
  const { ports, log } = open(new Promise((resolve) => (known = resolve)));
  log.note('image registry/hunter22/tool is not there');
  known(new Map([['KEY', 'hunter22']]));
  log.note('could not clean up hunter22');
  await log.close();
  expect(ports.text('job')).toBe('[impgem] image registry/***/tool is not there\n[impgem] could not clean up ***\n');
});

it('says what is to be said although the secrets cannot be had', async () => {
  const { ports, log } = open(Promise.reject(new Error('secret KEY is not known')));
  log.note('one');
  log.note('two');
  await log.close();
  expect(ports.text('job')).toBe('[impgem] one\n[impgem] two\n');
});

it('is no log where nothing was said', async () => {
  const { ports, log } = open(Promise.resolve(new Map()));
  await log.close();
  expect(ports.text('job')).toBe('');
});
