/** Frames of the engine's stream, however they were cut on their way. */
import { Readable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { execa } from 'execa';
import { connectEngine } from '../../src/executors/docker/engine.ts';
import { followEngineLog, payloadsOf } from '../../src/executors/docker/engine-log.ts';
import type { ExecutorParts } from '../../src/executors/docker/parts.ts';
import { BASE_IMAGE, startDockerEngine } from '../support/docker-engine.ts';

function frame(text: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 1;
  header.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

async function read(parts: Buffer[]): Promise<string[]> {
  const payloads: string[] = [];
  for await (const payload of payloadsOf(Readable.from(parts))) payloads.push(payload.toString());
  return payloads;
}

const lines = Array.from({ length: 1000 }, (_, index) => `line ${index}\n`);
const stream = Buffer.concat(lines.map(frame));

it('gives all lines that came together at once, for each is taken by a write of its own', async () => {
  expect(await read([stream, Buffer.alloc(0), frame(''), stream])).toEqual([lines.join(''), lines.join('')]);
});

it('loses nothing where a frame was cut', async () => {
  const cut = stream.length - 3;
  expect(
    await read([stream.subarray(0, 4), stream.subarray(4, 9), stream.subarray(9, cut), stream.subarray(cut)]),
  ).toEqual(['l', lines.join('').slice(1, -3), '99\n']);
  const bytes = Array.from(stream, (byte) => Buffer.from([byte]));
  expect((await read(bytes)).join('')).toBe(lines.join(''));
});

it.each([
  ['fits', 1000, '1000\n'],
  ['was overrun', 2_000_000, { code: 'service-output-left-out' }],
])('of a container whose log %s says whether all was taken', async (_, count, expected) => {
  await startDockerEngine();
  const small = ['--log-driver=local', '--log-opt=max-size=1m', '--log-opt=max-file=1', '--log-opt=compress=false'];
  const script = `seq 1 ${count}; sleep 1; printf end`;
  const { stdout: id } = await execa('docker', ['run', '-d', ...small, BASE_IMAGE, 'sh', '-c', script]);
  onTestFinished(async () => {
    await execa('docker', ['rm', '-f', id]);
  });
  const engine = await connectEngine({});
  onTestFinished(() => engine.close());
  const ended = new AbortController();
  const parts = { docker: engine.docker, events: { look: () => Promise.resolve(true) } } as unknown as ExecutorParts;
  const take = async (): Promise<string> => {
    let text = '';
    for await (const bytes of followEngineLog(parts, id, ended.signal, undefined, new AbortController().signal)) {
      // Slow: the container has ended when this goes on.
      if (text === '') await execa('docker', ['wait', id]);
      ended.abort();
      text += bytes.toString();
    }
    return text;
  };
  if (typeof expected === 'string') expect((await take()).slice(-8)).toBe(`${expected}end`);
  else await expect(take()).rejects.toMatchObject(expected);
});
