/** An engine that remaps root: what we do on its host ourselves still works, and a step has no rights there. */
import { execa } from 'execa';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { BASE_IMAGE, openEngineBench } from '../support/docker-engine.ts';
import { type OwnEngine, startOwnEngine } from '../support/own-engine.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { openJob } from './conformance/job.ts';

let engine: OwnEngine;
beforeAll(async () => {
  engine = await startOwnEngine({ remap: true });
});
afterAll(() => engine.stop());

it('runs a job, whose root is nobody outside', async () => {
  const bench = await openEngineBench({ host: engine.host });
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, BASE_IMAGE);
  const { text } = await job.run('echo made > file; cat file; set -- $(cat /proc/self/uid_map); echo "$1 is $2"');
  expect(text).toBe('made\n0 is 200000\n');
  expect(job.notes.join()).not.toMatch(/may reach services/);
  await job.close();
  await executor.close();
  await bench.close();
});

it('is well, says impgem doctor', async () => {
  const env = { PATH: process.env['PATH']!, IMPGEM_DATA: await temporaryFolder(), DOCKER_HOST: engine.host };
  const command = [join(process.cwd(), 'dist/impgem.js'), 'doctor', '--json'];
  const { stdout } = await execa('node', command, { extendEnv: false, env, cwd: env.IMPGEM_DATA });
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  for (const what of ['docker engine', 'disk of the engine', 'network of steps'])
    expect(findings).toContainEqual(expect.objectContaining({ what, state: 'ok' }));
});
