import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InfrastructureError } from '../../src/errors.ts';
import { createStepLog, type StepLogOptions } from '../../src/worker/step-log.ts';
import { memoryPorts } from '../support/job-fixture.ts';

const KEY = { run: 'r', job: 'j', attempt: 1, part: '0' };
const SECRETS = ['hunter22', 'abcabd'];

async function write(chunks: Buffer[], options: Partial<StepLogOptions> = {}, ports = memoryPorts('/nonexistent')) {
  const log = createStepLog({ writer: ports.logs, key: KEY, secrets: SECRETS, limit: Infinity, ...options });
  // Nobody waits: the order of the calls must be enough.
  for (const chunk of chunks) void log.write(chunk);
  await log.flush();
  return { log, ports, text: ports.text('0') };
}

/** Text made of secrets, pieces of secrets and other things, cut anywhere. */
const cutText = fc
  .array(fc.constantFrom('hunter22', 'hunt', 'abc', 'abcabd', 'abd', 'x', '\n', 'é'), { maxLength: 12 })
  .chain((parts) => {
    const bytes = Buffer.from(parts.join(''));
    return fc.array(fc.nat(bytes.length), { maxLength: 6 }).map((cuts) => {
      const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      return { bytes, chunks: places.slice(1).map((end, index) => bytes.subarray(places[index], end)) };
    });
  });

describe('log of a step', () => {
  it('does not depend on how the output was cut, and never shows a secret', async () => {
    await fc.assert(
      fc.asyncProperty(cutText, async ({ bytes, chunks }) => {
        const whole = await write([bytes]);
        const pieces = await write(chunks);
        expect(pieces.text).toBe(whole.text);
        for (const secret of SECRETS) expect(whole.text).not.toContain(secret);
        expect(pieces.log.length()).toBe(Buffer.byteLength(whole.text));
      }),
    );
  });

  it('goes on where an earlier worker stopped, at any byte, sending nothing twice', async () => {
    await fc.assert(
      fc.asyncProperty(cutText, cutText, fc.nat(200), async ({ bytes }, again, at) => {
        const whole = Buffer.from((await write([bytes])).text);
        const ports = memoryPorts('/nonexistent');
        const stored = Math.min(at, whole.length);
        await ports.logs.append(KEY, 0, whole.subarray(0, stored));
        const sent: number[] = [];
        const append = ports.logs.append.bind(ports.logs);
        ports.logs.append = (key, offset, piece) => {
          sent.push(offset);
          return append(key, offset, piece);
        };
        const cut = Math.min(again.bytes.length, bytes.length);
        await write([bytes.subarray(0, cut), bytes.subarray(cut)], { from: { offset: 0, stored } }, ports);
        expect(ports.text('0')).toBe(whole.toString());
        for (const offset of sent) expect(offset).toBeGreaterThanOrEqual(stored);
      }),
    );
  });

  it('begins a note on a line of its own, masked', async () => {
    const { log, ports } = await write([Buffer.from('no newline')]);
    await log.note('the key hunter22 was wrong');
    await log.note('really');
    expect(ports.text('0')).toBe('no newline\n[impgem] the key *** was wrong\n[impgem] really\n');
  });

  it('ends at its limit, once, and notes still fit', async () => {
    let reached = 0;
    const { log, ports } = await write([Buffer.from('12345'), Buffer.from('678'), Buffer.from('9')], {
      limit: 7,
      onLimit: () => reached++,
    });
    await log.note('full');
    expect(reached).toBe(1);
    expect(ports.text('0')).toBe('1234567\n[impgem] full\n');
  });

  it('that cannot be stored says so to whoever writes and whoever waits', async () => {
    const ports = memoryPorts('/nonexistent');
    const failure = new InfrastructureError('disk-full', 'no space');
    ports.logs.append = () => Promise.reject(failure);
    const log = createStepLog({ writer: ports.logs, key: KEY, secrets: [], limit: Infinity });
    await expect(log.write(Buffer.from('x'))).rejects.toBe(failure);
    await expect(log.broken).rejects.toBe(failure);
    await expect(log.close()).rejects.toBe(failure);
    expect(ports.closed.size).toBe(0);
  });
});
