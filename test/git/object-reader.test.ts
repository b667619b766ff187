import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ObjectReader, createObjectReader } from '../../src/git/object-reader.ts';
import { createBatchAnswers } from '../../src/git/objects.ts';
import { type TestRepository, makeRepository } from '../support/git-http.ts';

test('answers are the same in whatever pieces they come', () => {
  const object = fc.record({ bytes: fc.uint8Array({ maxLength: 40 }), exists: fc.boolean() });
  fc.assert(
    fc.property(fc.array(object, { minLength: 1, maxLength: 8 }), fc.array(fc.nat(60)), (objects, cuts) => {
      const id = 'a'.repeat(40);
      const output = Buffer.concat(
        objects.flatMap(({ bytes, exists }) =>
          exists
            ? [Buffer.from(`${id} blob ${bytes.length}\n`), bytes, Buffer.from('\n')]
            : [Buffer.from('x missing\n')],
        ),
      );
      const answers = createBatchAnswers(objects.length, 1000);
      const ends = [...new Set([...cuts.map((cut) => cut % output.length), output.length])].sort((a, b) => a - b);
      let from = 0;
      for (const end of ends) {
        expect(answers.push(output.subarray(from, end))).toBe(end === output.length);
        from = end;
      }
      expect(answers.found.map((one) => one && { ...one, bytes: Buffer.from(one.bytes) })).toEqual(
        objects.map(({ bytes, exists }) => (exists ? { id, type: 'blob', bytes: Buffer.from(bytes) } : undefined)),
      );
    }),
  );
});

describe('objects of a mirror', () => {
  let folder: string;
  let repository: TestRepository;
  let reader: ObjectReader;
  let gitDir: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'impgem-objects-'));
    repository = await makeRepository(folder, 'ann/app');
    await repository.commit({ small: 'small', large: 'x'.repeat(10_000) });
    gitDir = await repository.git('rev-parse', '--absolute-git-dir');
    reader = createObjectReader();
  });
  afterEach(async () => {
    for (const pid of processes()) process.kill(pid, 'SIGKILL');
    await rm(folder, { recursive: true });
  });

  const call = (timeoutMs = 30_000) => ({ gitDir, allowFile: true, timeoutMs });
  const read = async (name: string, maxBytes = 1_000_000, timeoutMs?: number) =>
    (await reader.read(call(timeoutMs), [`HEAD:${name}`], maxBytes))[0]?.bytes.toString();
  /** Those that wait in this test's mirror. */
  const processes = (): number[] =>
    execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes('cat-file'))
      .map((line) => Number.parseInt(line, 10))
      .filter((pid) => readFileSync(`/proc/${pid}/environ`, 'utf8').includes(gitDir));

  test('are read by one process, whatever comes at once, and what was committed since is found', async () => {
    const names = ['small', 'large', 'none', 'small'];
    expect(await Promise.all(names.map((name) => read(name)))).toEqual([
      'small',
      'x'.repeat(10_000),
      undefined,
      'small',
    ]);
    const [first] = processes();
    await repository.commit({ small: 'new' });
    await repository.git('repack', '-adq');
    expect(await read('small')).toBe('new');
    expect(processes()).toEqual([first]);
  });

  test('past the limit are refused, and the next are read', async () => {
    await expect(read('large', 9_999)).rejects.toMatchObject({ code: 'git-output-too-large' });
    expect(await read('large', 10_000)).toHaveLength(10_000);
  });

  test('are read though the process was killed meanwhile', async () => {
    await read('small');
    for (const pid of processes()) process.kill(pid, 'SIGSTOP');
    const reading = read('small');
    for (const pid of processes()) process.kill(pid, 'SIGKILL');
    expect(await reading).toBe('small');
    for (const pid of processes()) process.kill(pid, 'SIGKILL');
    expect(await read('small')).toBe('small');
  });

  test('are not waited for longer than said', async () => {
    await read('small');
    for (const pid of processes()) process.kill(pid, 'SIGSTOP');
    await expect(read('small', 1000, 100)).rejects.toMatchObject({ code: 'git-timeout' });
    expect(await read('small')).toBe('small');
  });

  test('that git cannot read give its words', async () => {
    gitDir = join(folder, 'none');
    await expect(read('small')).rejects.toMatchObject({ code: 'git-failed', message: /not a git repository/ });
  });

  test('keep no process for longer than said', async () => {
    reader = createObjectReader(1);
    await read('small');
    await expect.poll(processes).toEqual([]);
    expect(await read('small')).toBe('small');
  });
});
