/** `impgem demo`: the main job on embedded defaults, from a push to a green status, with nothing left to set up. */
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { InfrastructureError } from '../errors.ts';
import type { Run } from '../runs/run.ts';
import { pushExample } from './demo/demo-repository.ts';
import { followRun } from './demo/follow-run.ts';
import { signedPush } from './demo/signed-delivery.ts';
import { startStandInForge } from './demo/stand-in-forge.ts';
import { EXIT } from './exit-codes.ts';
import { aborted, untilSignal } from './until-signal.ts';

const REPOSITORY = 'demo/hello';
const READY_TIMEOUT_MS = 30_000;

export function demoCommand(): Command {
  return new Command('demo')
    .description('a push to a green commit status on this machine, with embedded defaults')
    .option('--keep', 'keep everything running afterwards, until Ctrl-C')
    .option('--example <folder>', 'sample project to push')
    .action(async (options: { keep?: boolean; example?: string }) => {
      process.exitCode = await demo(options);
    });
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const headline = (text: string): void => say(process.stdout.isTTY ? `\n\u001b[1m${text}\u001b[0m` : `\n${text}`);

async function demo({ keep = false, example }: { keep?: boolean; example?: string }): Promise<number> {
  const startedAt = Date.now();
  const home = resolve(dirname(fileURLToPath(import.meta.url)), '..');
  const data = resolve(process.env['IMPGEM_DATA'] ?? '.impgem', 'demo');
  const signal = untilSignal(() => process.exit(130));
  const forge = await startStandInForge();
  const listen = process.env['IMPGEM_LISTEN'] ?? (keep ? '127.0.0.1:8000' : `127.0.0.1:${await freePort()}`);
  const url = `http://${listen}`;

  headline(`1. impgem up  (data in ${data})`);
  await mkdir(data, { recursive: true, mode: 0o700 });
  const up = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', 'up'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Away from a `.env` of the caller's, whose queue and secrets are not for a demonstration.
    cwd: data,
    env: {
      ...withoutSettings(process.env),
      IMPGEM_DATA: data,
      IMPGEM_LISTEN: listen,
      IMPGEM_GITEA_URL: `file://${join(data, 'forge')}`,
      IMPGEM_GITEA_API_URL: `${forge.url}/api/v1`,
      IMPGEM_ALLOW_FILE: 'true',
      // No image can be assumed to be here; steps run in the sandbox unless another executor is asked for.
      IMPGEM_EXECUTOR: process.env['IMPGEM_EXECUTOR'] ?? 'sandbox',
      IMPGEM_LOG_LEVEL: process.env['IMPGEM_LOG_LEVEL'] ?? 'warn',
    },
  });
  up.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk));
  const ended = once(up, 'exit');
  try {
    await untilReady(url, ended);
    say(`   ready at ${url} after ${Date.now() - startedAt} ms`);
    const run = await pushAndFollow(url, data, example ?? join(home, 'examples', 'hello'));

    headline('4. Commit statuses that arrived at the forge');
    await forge.until(
      (all) =>
        run.jobs.every((job) => all.some((one) => one.context.endsWith(`/${job.name}`) && one.state !== 'pending')),
      10_000,
    );
    for (const { context, state, description } of forge.statuses)
      say(`   ${state.padEnd(8)} ${context}  ${description}`);

    headline('5. Artifacts');
    const artifacts = (await getJson(`${url}/api/runs/${run.id}/artifacts`)) as {
      artifacts: { job: string; path: string; size: number }[];
    };
    for (const { job, path, size } of artifacts.artifacts)
      say(`   ${job}/${path}  ${size} bytes  ${url}/api/runs/${run.id}/artifacts/${job}/${path}`);

    headline(`Run ${run.id} ${run.state} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
    say(`   page       ${url}/runs/${run.id}`);
    say(`   log        ${url}/api/runs/${run.id}/logs`);
    say(`   artifacts  ${url}/api/runs/${run.id}/artifacts`);
    if (keep) {
      say(`\nIt keeps running; webhooks of Gitea go to ${url}/webhooks/gitea. Ctrl-C stops it.`);
      await Promise.race([aborted(signal), ended]);
    } else say('\nEverything is stopped again now. `make up` keeps it running.');
    return run.state === 'succeeded' ? EXIT.passed : EXIT.failed;
  } finally {
    up.kill('SIGTERM');
    await ended;
    forge.close();
  }
}

/** What is set for a server of the caller's; where an engine is (DOCKER_HOST) stays. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(IMPGEM|REDIS)_/.test(name)));
}

async function pushAndFollow(url: string, data: string, example: string): Promise<Run> {
  headline('2. git push, and the webhook that the forge sends for it');
  const commit = await pushExample(example, data, REPOSITORY);
  const secret = await keptSecret(join(data, 'secrets.env'), 'IMPGEM_WEBHOOK_SECRET');
  const { body, headers, delivery } = signedPush(REPOSITORY, commit, secret);
  const sentAt = Date.now();
  const answer = await fetch(`${url}/webhooks/gitea`, { method: 'POST', headers, body });
  say(
    `   ${commit.sha.slice(0, 12)} ${commit.message}\n   POST /webhooks/gitea -> ${answer.status} ${await answer.text()}`,
  );
  const id = await runOf(url, delivery);

  headline(`3. The run's log, live from ${url}/runs/${id}`);
  let first = true;
  const marks = new Map<string, string>();
  await followRun(url, id, ({ job, name, text }) => {
    if (first) say(`   (first line ${Date.now() - sentAt} ms after the webhook)`);
    first = false;
    const place = `${job} › ${name}`;
    const whole = (marks.get(place) ?? '') + text;
    const lines = whole.split('\n');
    marks.set(place, lines.pop() ?? '');
    for (const line of lines) say(`   ${place} │ ${line}`);
  });
  const run = (await getJson(`${url}/api/runs/${id}`)) as Run;
  for (const job of run.jobs) {
    say(`   ${mark(job.state)} ${job.name}`);
    for (const step of job.steps)
      say(`     ${mark(step.state)} ${step.name}  ${elapsed(step.startedAt, step.endedAt)}`);
  }
  return run;
}

const mark = (state: string): string => (state === 'succeeded' ? '✔' : state === 'skipped' ? '↷' : '✘');

function elapsed(from: string | undefined, to: string | undefined): string {
  return from === undefined || to === undefined ? '' : `${Date.parse(to) - Date.parse(from)} ms`;
}

async function untilReady(url: string, ended: Promise<unknown>): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  const over = new AbortController();
  void ended.then(() => over.abort());
  while (Date.now() < deadline && !over.signal.aborted) {
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((wake) => setTimeout(wake, 25));
  }
  throw new InfrastructureError('demo-not-ready', `impgem up did not get ready on ${url}; what it said stands above`);
}

/** The delivery is planned within milliseconds; a run appears when it is. */
async function runOf(url: string, delivery: string): Promise<string> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const { state, reason, runs } = (await getJson(`${url}/api/deliveries/${delivery}`)) as {
      state: string;
      reason?: string;
      runs: string[];
    };
    if (runs[0] !== undefined) return runs[0];
    if (state !== 'queued')
      throw new InfrastructureError('demo-no-run', `The delivery led to no run: ${state}, ${reason ?? ''}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
  throw new InfrastructureError('demo-no-run', 'The delivery was not planned in time');
}

async function getJson(url: string): Promise<unknown> {
  const answer = await fetch(url);
  if (!answer.ok) throw new InfrastructureError('demo-http', `GET ${url} answered ${answer.status}`);
  return answer.json();
}

async function keptSecret(file: string, name: string): Promise<string> {
  const text = await readFile(file, 'utf8');
  return new RegExp(`^${name}=(.+)$`, 'm').exec(text)?.[1] ?? '';
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
