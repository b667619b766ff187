/** A scenario through the product as its users run it: pushes, webhooks, server, worker, sandbox, statuses. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Run } from '../../src/runs/run.ts';
import type { Happening, Observed, PlayedScenario } from './scenario.ts';
import { isOver, poll, type Product, pushBody } from './product.ts';

/** What came of one event. */
interface Received {
  ignored?: string;
  runs: Observed[];
}

/** Lets everything happen in its order, and gives what came of each event once all is over. */
export async function playOnServer(product: Product, name: string, scenario: PlayedScenario): Promise<Received[]> {
  const repository = `scenarios/${name}`;
  const git = await product.repository(repository);
  if (scenario.base) await git.commit(scenario.files);
  const deliveries: { id: string; sha: string }[] = [];
  for (const [index, happening] of scenario.events.entries()) {
    const files = index === 0 && !scenario.base ? scenario.files : {};
    const sent = await send(product, repository, { ...happening, files: { ...files, ...happening.files } });
    deliveries.push(sent);
    const { until } = happening;
    if (until === 'running') await product.runOf(sent.id, (run) => hasStepRunning(run));
    else if (until === 'waiting') await product.runOf(sent.id, isWaiting);
    else await concluded(product, sent.id);
    if (happening.go) await letGo(product, deliveries[0]?.id ?? '');
  }
  const received = await Promise.all(deliveries.map(({ id, sha }) => conclude(product, id, sha)));
  for (const [context, state] of Object.entries(scenario.statuses ?? {}))
    await shows(product, deliveries, context, state);
  return received;
}

/** Puts a file `go` into the workspace of every job of a delivery that is at work. */
async function letGo(product: Product, delivery: string): Promise<void> {
  const run = await product.runOf(delivery, () => true);
  const work = join(product.folder, 'data', 'work');
  const jobs = (await readdir(work)).filter((job) => job.startsWith(`${run.id}-`));
  await Promise.all(jobs.map((job) => writeFile(join(work, job, 'workspace', 'go'), '')));
}

const hasStepRunning = ({ jobs }: Run): boolean =>
  jobs.some((job) => job.steps.some((step) => step.state === 'running'));
const isWaiting = ({ jobs }: Run): boolean => jobs.some((job) => job.waitingFor?.startsWith('concurrency') === true);

async function send(product: Product, name: string, happening: Happening): Promise<{ id: string; sha: string }> {
  const { event = 'push', branch = 'main', tag = '', message = 'Change', meanwhile } = happening;
  const repository = await product.repository(name);
  const files = Object.fromEntries(
    Object.entries(happening.files ?? {}).map(([path, text]) => [path, text ?? undefined]),
  );
  const before = await repository
    .git('rev-parse', '-q', '--verify', `refs/heads/${branch}`)
    .catch(() => '0'.repeat(40));
  const sha = happening.again
    ? await repository.git('rev-parse', branch)
    : await repository.commit(files, { branch, message });
  const push = pushBody(name, branch, before, sha, message) as Record<string, unknown>;
  if (event === 'push') return { id: (await product.send('push', push)).body.delivery, sha };
  if (event === 'tag') {
    await repository.git('tag', tag);
    await repository.git('push', '-q', 'origin', tag);
    const body = { ...push, ref: `refs/tags/${tag}`, before: '0'.repeat(40) };
    return { id: (await product.send('push', body)).body.delivery, sha };
  }
  await repository.git('push', '-q', 'origin', `${sha}:refs/pull/1/head`);
  if (meanwhile) await repository.commit(meanwhile);
  const side = { repo: push['repository'] };
  const pull_request = {
    number: 1,
    title: message,
    user: push['sender'],
    head: { ...side, ref: branch, sha },
    base: { ...side, ref: 'main' },
  };
  const body = { action: 'opened', number: 1, pull_request, repository: push['repository'], sender: push['sender'] };
  return { id: (await product.send('pull_request', body)).body.delivery, sha };
}

/** Settles when a context of one of these commits has come to this state. */
async function shows(product: Product, commits: { sha: string }[], context: string, state: string): Promise<void> {
  await poll(() => {
    const posts = product.forge.posts.filter(
      (post) => post.context === context && commits.some(({ sha }) => sha === post.sha),
    );
    return Promise.resolve(posts.at(-1)?.state === state || undefined);
  });
}

interface Delivery {
  state: string;
  reason?: string;
  runs: string[];
}

/** The delivery once it is planned, and its runs once they are over. */
async function concluded(product: Product, id: string): Promise<{ delivery: Delivery; runs: Run[] }> {
  const delivery = await poll(async () => {
    const found = await product.api<Partial<Delivery>>(`/api/deliveries/${id}`);
    return found.state === undefined || found.state === 'queued' ? undefined : (found as Delivery);
  });
  const runs = delivery.runs.map((run) =>
    poll(async () => {
      const found = await product.api<Run>(`/api/runs/${run}`);
      return isOver(found) ? found : undefined;
    }),
  );
  return { delivery, runs: await Promise.all(runs) };
}

async function conclude(product: Product, id: string, sha: string): Promise<Received> {
  const { delivery, runs } = await concluded(product, id);
  for (const run of runs) await reported(product, run, sha);
  return {
    ...(delivery.state === 'ignored' ? { ignored: delivery.reason ?? '' } : {}),
    runs: runs.map((run) => ({
      run,
      log: async (job, part) => {
        const query = job === '' ? '' : `?${new URLSearchParams({ job, step: part }).toString()}`;
        return (await fetch(`${product.url}/api/runs/${run.id}/logs${query}`)).text();
      },
      artifacts: async () => {
        const { artifacts } = await product.api<{ artifacts: { job: string; path: string }[] }>(
          `/api/runs/${run.id}/artifacts`,
        );
        return artifacts.map(({ job, path }) => `${job}/${path}`);
      },
    })),
  };
}

const STATUS: Partial<Record<Run['state'], string>> = { succeeded: 'success', skipped: 'success', failed: 'failure' };

/** Every job (or the run, when it has none) is told to the forge as what it ended; a skipped one may leave what is there. */
async function reported(product: Product, run: Run, sha: string): Promise<void> {
  const told = run.jobs.length > 0 ? run.jobs : [{ name: undefined, state: run.state }];
  for (const { name, state } of told) {
    const context = ['impgem', run.pipeline, name].filter((part) => part !== undefined).join('/');
    await poll(() => {
      const posts = product.forge.posts.filter((post) => post.sha === sha && post.context === context);
      const last = posts.at(-1)?.state;
      return Promise.resolve(
        (state === 'skipped' ? last !== undefined : last === (STATUS[state] ?? 'error')) || undefined,
      );
    });
  }
}
