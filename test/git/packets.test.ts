import { Readable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fetchRequest, packOf } from '../../src/git/packets.ts';

const line = (bytes: Buffer | string): Buffer => {
  const body = Buffer.from(bytes as string);
  return Buffer.concat([Buffer.from((body.length + 4).toString(16).padStart(4, '0')), body]);
};
const band = (number: number, bytes: Buffer | string): Buffer =>
  line(Buffer.concat([Buffer.from([number]), Buffer.from(bytes as string)]));
const END = Buffer.from('0000');

/** The whole, cut at these places. */
function inChunks(whole: Buffer, cuts: number[]): Readable {
  const places = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
  return Readable.from([0, ...places].map((from, index) => whole.subarray(from, places[index])));
}

async function read(whole: Buffer, cuts: number[] = []): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of packOf(inChunks(whole, cuts))) chunks.push(chunk);
  return Buffer.concat(chunks).toString('latin1');
}

test('asks for one commit in the words of the protocol', () => {
  const want = 'a'.repeat(40);
  const have = 'b'.repeat(40);
  expect(fetchRequest(want, [have])).toBe(
    [
      '0012command=fetch\n',
      '0011agent=impgem\n',
      '0017object-format=sha1\n',
      '0001',
      '000ethin-pack\n',
      '0010no-progress\n',
      '000eofs-delta\n',
      `0032want ${want}\n`,
      `0032have ${have}\n`,
      '0009done\n',
      '0000',
    ].join(''),
  );
  expect(fetchRequest('a'.repeat(64), [])).toContain('object-format=sha256\n');
});

test('gives the bytes of the pack, however the answer was cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(1, 2), fc.uint8Array({ minLength: 1, maxLength: 300 }))),
      fc.array(fc.nat()),
      async (packets, cuts) => {
        const whole = Buffer.concat([
          line('packfile\n'),
          ...packets.map(([number, bytes]) => band(number, Buffer.from(bytes))),
          END,
        ]);
        const data = packets.filter(([number]) => number === 1).map(([, bytes]) => Buffer.from(bytes));
        expect(await read(whole, cuts)).toBe(Buffer.concat(data).toString('latin1'));
      },
    ),
  );
});

test('takes nothing that was cut short for a whole pack', async () => {
  const whole = Buffer.concat([line('packfile\n'), band(1, 'PACK and more'), band(1, 'the rest'), END]);
  for (let length = 0; length < whole.length; length++)
    await expect(read(whole.subarray(0, length))).rejects.toThrow(/cut|something else/);
});

test.each([
  ['an error of the server', line('ERR upload-pack: not our ref abc'), /not our ref/],
  [
    'an error within the pack',
    Buffer.concat([line('packfile\n'), band(3, 'out of memory\n'), END]),
    /^remote: out of memory$/,
  ],
  ['a band that there is not', Buffer.concat([line('packfile\n'), band(7, 'x'), END]), /remote/],
  ['the list of refs of an old server', line('abc refs/heads/main\0multi_ack'), /something else than a pack/],
  ['a page', Buffer.from('<html>sign in</html>'), /something else than packets/],
])('throws for %s', async (_what, answer, message) => {
  await expect(read(answer)).rejects.toThrow(message);
});
