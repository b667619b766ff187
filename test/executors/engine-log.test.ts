/** Frames of the engine's stream, however they were cut on their way. */
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { payloadsOf } from '../../src/executors/docker/engine-log.ts';

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
