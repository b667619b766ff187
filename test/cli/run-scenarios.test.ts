/**
 * Whole pipelines and what must come of them: `test/fixtures/scenarios/NN_name.yml` beside `.json`. A state is written
 * `failed (reason)`; `skipped*` is skipped for whatever reason.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import type { Step } from '../../src/runs/run.ts';
import { runScenario, type Given } from '../support/run-scenario.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

interface Expected {
  given?: Given;
  run: string;
  reason?: string;
  jobs: Record<string, { state: string; steps: string[]; attempt?: number; outputs?: Record<string, string> }>;
  /** Whole text by `job/part`. */
  logs?: Record<string, string>;
  contains?: Record<string, string>;
  artifacts?: string[];
  /** In no log and no reason. */
  absent?: string[];
}

/** As it stands in the files. */
const PORT = '28471';
const FOLDER = new URL('../fixtures/scenarios/', import.meta.url).pathname;
const names = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.yml'))
  .map((name) => name.slice(0, -4));
const executor = createSandboxExecutor({ mounts: [], limits: { memory: 1024 ** 3, pids: 512 } });
afterAll(() => executor.close());

describe('scenarios', () => {
  it.each(names)('%s', async (name) => {
    const expected = JSON.parse(readFileSync(`${FOLDER}${name}.json`, 'utf8')) as Expected;
    const text = readFileSync(`${FOLDER}${name}.yml`, 'utf8');
    // Services of the sandbox listen on the machine's own loopback, where another run of these tests may be.
    const yml = text.includes(PORT) ? text.replaceAll(PORT, String(await freePort())) : text;
    const { record, logs, artifacts } = await runScenario(executor, await temporaryFolder(), yml, expected.given ?? {});
    const all = JSON.stringify([record.jobs, ...logs]);
    const jobs = Object.fromEntries(
      record.jobs.map((job) => [
        job.id,
        { state: job.state, steps: job.steps.map((step, at) => inWords(step, expected.jobs[job.id]?.steps[at])) },
      ]),
    );
    expect(jobs, all).toEqual(
      Object.fromEntries(Object.entries(expected.jobs).map(([id, { state, steps }]) => [id, { state, steps }])),
    );
    expect(record.state, all).toBe(expected.run);
    if (expected.reason !== undefined) expect(record.reason).toBe(expected.reason);
    for (const job of record.jobs) {
      const { attempt = 1, outputs } = expected.jobs[job.id] ?? {};
      expect(job.attempt).toBe(attempt);
      expect(job.outputs).toEqual(outputs);
    }
    for (const [log, text] of Object.entries(expected.logs ?? {})) expect(logs.get(log)).toBe(text);
    for (const [log, text] of Object.entries(expected.contains ?? {})) expect(logs.get(log)).toContain(text);
    for (const text of expected.absent ?? []) expect(all).not.toContain(text);
    expect(artifacts).toEqual(expected.artifacts ?? []);
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

function inWords({ state, reason, exitCode }: Step, expected = ''): string {
  if (expected === `${state}*`) return expected;
  const why = reason ?? (state === 'failed' ? `exit code ${exitCode}` : undefined);
  return why === undefined ? state : `${state} (${why})`;
}
