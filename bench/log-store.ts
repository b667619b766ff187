/**
 * The log store beside a bare file in the same run: a log of 1 GB appended in blocks of 64 KB (as it is, and masked
 * first), many small appends, and then ranges of it read by bytes and by lines at random places.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogStore, type LogStore } from '../src/logs/log-store.ts';
import { createMasker } from '../src/logs/masking.ts';
import type { LogKey } from '../src/runs/run.ts';
import { type Figures, printTable, quantile } from './report.ts';

const GIGABYTE = 1024 ** 3;
const LINE = 'The quick brown fox jumps over the lazy dog, for the 1000th time, and is not tired of it at all.\n';
const BLOCK = Buffer.from(LINE.repeat(Math.floor(65_536 / LINE.length)));
const BLOCKS = Math.floor(GIGABYTE / BLOCK.length);
const RANGES = 300;
const SMALL = 50_000;
const SECRETS = [
  'hunter2-hunter2',
  'ghp_0123456789abcdefghijklmnopqrstuvwxyz',
  `-----BEGIN KEY-----\n${'MIIB/+aX'.repeat(60)}\n`,
];
const KEY: LogKey = { run: 'bench', job: 'job', attempt: 1, part: '0' };

/** Of any range of a log of 1 GB. */
const RANGE_BAR_MS = 20;

/** MB are 10^6 bytes, times are ms. */
export async function benchLogStore(): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-bench-'));
  const store = createLogStore(folder);
  try {
    const rawMBps = await rawAppend(join(folder, 'raw'));
    const masker = createMasker(SECRETS);
    const masked = { ...KEY, part: 'masked' };
    const maskedMBps = await append(store, masked, (block) => masker.push(block));
    await store.remove(KEY.run);
    const appendMBps = await append(store, KEY, (block) => block);
    const mendMs = await timed(async () => {
      // As after a crash: another process finds the log, checks its index and goes on.
      const next = createLogStore(folder);
      await next.append(KEY, 0, BLOCK);
      await next.dispose();
    });
    const closeMs = await timed(() => store.close(KEY));
    const bytes = await ranges(() => readBytes(store));
    const total = await store.countLines(KEY);
    const lines = await ranges(() => readLines(store, total));
    const figures = {
      appendMBps,
      maskedMBps,
      rawMBps,
      ratio: appendMBps / rawMBps,
      smallAppendsPerSecond: await smallAppends(store),
      closeMs,
      mendMs,
      ...named('byteRange', bytes),
      ...named('lineRange', lines),
      rssMB: process.memoryUsage.rss() / 1e6,
    };
    const p99 = [quantile(bytes, 0.99), quantile(lines, 0.99)];
    printTable('log-store: a log of 1 GB', [
      ...Object.entries(figures).map(([what, value]) => ({ what, value, unit: '' })),
      ...p99.map((value, index) => ({
        what: `a range of ${index === 0 ? 'bytes' : 'lines'}, p99`,
        value,
        unit: 'ms',
        bar: `<= ${RANGE_BAR_MS} ms`,
        ok: value <= RANGE_BAR_MS,
      })),
    ]);
    return figures;
  } finally {
    await store.dispose();
    await rm(folder, { recursive: true });
  }
}

async function rawAppend(path: string): Promise<number> {
  const file = await open(path, 'w');
  const ms = await timed(async () => {
    for (let n = 0; n < BLOCKS; n++) await file.write(BLOCK, 0, BLOCK.length, n * BLOCK.length);
  });
  await file.close();
  await rm(path);
  return (BLOCKS * BLOCK.length) / 1e3 / ms;
}

async function append(store: LogStore, key: LogKey, change: (block: Buffer) => Buffer): Promise<number> {
  let at = 0;
  const ms = await timed(async () => {
    for (let n = 0; n < BLOCKS; n++) {
      const bytes = change(BLOCK);
      await store.append(key, at, bytes);
      at += bytes.length;
    }
  });
  return at / 1e3 / ms;
}

async function smallAppends(store: LogStore): Promise<number> {
  const line = Buffer.from(LINE);
  const key = { ...KEY, part: 'small' };
  const ms = await timed(async () => {
    for (let n = 0; n < SMALL; n++) await store.append(key, n * line.length, line);
  });
  return (SMALL / ms) * 1e3;
}

async function readBytes(store: LogStore): Promise<void> {
  const from = Math.floor(Math.random() * BLOCKS) * BLOCK.length;
  await drain(store.read(KEY, from, from + 256 * 1024));
}

async function readLines(store: LogStore, total: number): Promise<void> {
  const { from, to } = await store.lines(KEY, Math.floor(Math.random() * total), 1000);
  await drain(store.read(KEY, from, to));
}

async function drain(blocks: AsyncIterable<Buffer>): Promise<void> {
  let bytes = 0;
  for await (const block of blocks) bytes += block.length;
  if (bytes === 0) throw new Error('an empty range was read');
}

async function ranges(read: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < RANGES; n++) times.push(await timed(read));
  return times;
}

function named(name: string, times: number[]): Figures {
  const at = (part: number): number => quantile(times, part);
  return { [`${name}MedianMs`]: at(0.5), [`${name}P99Ms`]: at(0.99), [`${name}MaxMs`]: at(1) };
}

async function timed(task: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await task();
  return performance.now() - start;
}
