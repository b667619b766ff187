/**
 * How long a pipeline takes from text to plan: one of 2,000 lines, warm and the first of a process, beside the YAML library
 * alone on the same text in the same run; and how soon hostile files are refused.
 */
import { parseDocument } from 'yaml';
import { parsePipeline } from '../src/pipeline/parse.ts';
import { planPipeline } from '../src/pipeline/plan-pipeline.ts';
import type { PipelineEvent } from '../src/runs/event.ts';
import { hostilePipelines } from '../test/support/hostile-pipelines.ts';
import { type Figures, median, printTable, type Row } from './report.ts';

const WARM_UP = 20;
const ROUNDS = 60;
const HOSTILE_ROUNDS = 5;
const WARM_BAR_MS = 30;
const HOSTILE_BAR_MS = 100;
const MEMORY_BAR_MB = 256;

const EVENT: PipelineEvent = {
  kind: 'push',
  repository: 'gitea/octo/demo',
  ref: 'refs/heads/main',
  branch: 'main',
  sha: '0123456789abcdef0123456789abcdef01234567',
  message: 'A change',
  author: 'ann',
  receivedAt: '2026-01-02T03:04:05.000Z',
};

export async function benchLint(): Promise<Figures> {
  const text = longPipeline();
  const lines = text.split('\n').length;
  const first = timed(() => plan(text));
  const ours = await repeat(() => plan(text));
  const raw = await repeat(() => parseDocument(text));
  const figures: Figures = { lines, warmMs: median(ours), yamlMs: median(raw), firstMs: first };
  printTable(`lint: ${lines} lines, parsed, validated and planned`, [
    {
      what: 'warm, median',
      value: median(ours),
      unit: 'ms',
      bar: `<= ${WARM_BAR_MS} ms`,
      ok: median(ours) <= WARM_BAR_MS,
    },
    { what: 'the YAML library alone', value: median(raw), unit: 'ms' },
    { what: 'first of a process', value: first, unit: 'ms' },
  ]);
  return { ...figures, ...benchHostile() };
}

function benchHostile(): Figures {
  const rows: Row[] = [];
  const before = process.memoryUsage().rss;
  for (const [what, { text }] of Object.entries(hostilePipelines())) {
    const value = median(Array.from({ length: HOSTILE_ROUNDS }, () => timed(() => plan(text))));
    rows.push({ what, value, unit: 'ms', bar: `<= ${HOSTILE_BAR_MS} ms`, ok: value <= HOSTILE_BAR_MS });
  }
  const grown = (process.memoryUsage().rss - before) / 1024 ** 2;
  printTable('lint: hostile files, refused (median of 5)', [
    ...rows,
    {
      what: 'memory grown by all',
      value: grown,
      unit: 'MB',
      bar: `<= ${MEMORY_BAR_MB} MB`,
      ok: grown <= MEMORY_BAR_MB,
    },
  ]);
  return { hostileWorstMs: Math.max(...rows.map(({ value }) => value)), hostileGrownMb: grown };
}

function plan(text: string): void {
  const { pipeline, diagnostics } = parsePipeline(text, '.impgem.yml');
  if (!pipeline && diagnostics.length === 0) throw new Error('neither a pipeline nor diagnostics');
  if (pipeline) planPipeline(pipeline, { event: EVENT, changedPaths: ['src/a.ts'], defaults: { jobTimeoutMs: 1 } });
}

/** Neither pays for the garbage of the other. */
async function repeat(run: () => void): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < WARM_UP + ROUNDS; round += 1) {
    const time = timed(run);
    if (round >= WARM_UP) times.push(time);
    await new Promise(setImmediate);
  }
  return times;
}

function timed(run: () => void): number {
  const startedAt = performance.now();
  run();
  return performance.now() - startedAt;
}

/** Jobs as people write them, with every kind of key; about 2,000 lines. */
export function longPipeline(): string {
  const job = (index: number): string => `
  # What team ${index} ships
  service-${index}:
    ${index === 0 ? 'timeout: 40m' : `needs: [service-${index - 1}]`}
    when: { event: [push, pull_request], paths: ["src/**", "services/${index}/**", "!**/*.md"] }
    matrix: { node: [20, 22] }
    image: node:\${{ matrix.node }}-bookworm-slim
    env:
      SERVICE: service-${index}
      BRANCH: "\${{ event.branch }}"
      LABEL: "\${{ format('{0}-{1}', event.kind, matrix.node) }}"
    services:
      redis:
        image: redis:7
        ready: { port: 6379 }
    steps:
      - name: install
        run: |
          npm config set fund false
          npm ci --prefix "services/$SERVICE"
          npm ls --depth 0
        cache:
          key: npm-\${{ hash('package-lock.json') }}
          paths: [~/.npm]

      - name: test
        timeout: 10m
        retry: 2
        run: |
          set -x
          for suite in unit contract; do
            echo "suite $suite of $SERVICE"
            npm run "test:$suite" --prefix "services/$SERVICE"
          done
          # What was covered is kept below.
          npx c8 report --reporter lcov
        artifacts: ["coverage/**"]

      - name: tell
        when: { status: failure, branch: main }
        run: ./scripts/tell.sh "$SERVICE" "$LABEL"
`;
  return `image: debian:bookworm-slim\nenv: { CI_FLAVOUR: gem }\njobs:${Array.from({ length: 49 }, (_, index) => job(index)).join('')}`;
}
