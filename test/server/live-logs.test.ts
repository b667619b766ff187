import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LogKey } from '../../src/runs/run.ts';
import { openEvents, type ServerEvent } from '../support/event-source.ts';
import { sampleRun, startTestServer, type TestServer } from '../support/test-server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

const text = (events: ServerEvent[]) =>
  events
    .filter((each) => each.event === 'log')
    .map((each) => each.data.text)
    .join('');

function startRun() {
  const run = sampleRun();
  server.runs.put(run);
  const key = (job: string, part: string, attempt = 1): LogKey => ({ run: run.id, job, attempt, part });
  const endRun = () =>
    server.runs.change(run.id, (each) => {
      each.state = 'succeeded';
      for (const job of each.jobs) job.state = 'succeeded';
    });
  return { run, key, endRun, path: `${server.url}/api/runs/${run.id}/logs` };
}

test('history first, then what comes, then the end', async () => {
  const { key, endRun, path } = startRun();
  await server.write(key('build', '0'), 'one\n');
  const events = await openEvents(path);
  const first = await events.until('log');
  expect(first[0]).toMatchObject({ event: 'state', data: { state: 'running' } });
  expect(first[0]!.data.jobs.map((job: { id: string }) => job.id)).toEqual(['build', 'deploy']);
  expect(first.at(-1)!.data).toEqual({
    job: 'build',
    step: 0,
    name: 'compile',
    attempt: 1,
    part: '0',
    offset: 0,
    text: 'one\n',
  });
  await server.write(key('build', '0'), 'two\n');
  expect((await events.until('log')).at(-1)!.data).toMatchObject({ offset: 4, text: 'two\n' });
  await server.finish(key('build', '0'));
  await server.write(key('build', '1'), 'tests\n');
  expect((await events.until('log')).at(-1)!.data).toMatchObject({ step: 1, name: 'test', offset: 0 });
  await server.finish(key('build', '1'));
  endRun();
  const last = await events.until('end');
  expect(last.at(-1)!.data).toEqual({ state: 'succeeded' });
  expect(await events.next()).toBeUndefined();
});

test('only jobs that changed are told again', async () => {
  const { run, path } = startRun();
  const events = await openEvents(path);
  await events.until('state');
  server.runs.change(run.id, (each) => {
    each.jobs[1]!.waitingFor = 'jobs build';
  });
  const [change] = await events.until('state');
  expect(change!.data.jobs).toMatchObject([{ id: 'deploy', waitingFor: 'jobs build' }]);
  await events.close();
});

test('resumes at every event without gap or duplicate', async () => {
  const { key, endRun, path } = startRun();
  const pieces = ['α one\n', 'β two\n', 'γ three\n'];
  await server.write(key('', 'run'), 'run notes\n');
  await server.write(key('build', 'job'), 'notes\n');
  for (const piece of pieces) await server.write(key('build', '0'), piece);
  await server.finish(key('build', '0'));
  await server.write(key('build', '1'), 'second');
  await server.finish(key('build', '1'));
  await server.write(key('deploy', '0'), 'third');
  await server.write(key('deploy', 'service-redis'), 'ready');
  for (const part of ['job', '1']) await server.finish(key('build', part));
  for (const part of ['0', 'service-redis']) await server.finish(key('deploy', part));
  await server.finish(key('', 'run'));
  endRun();
  const whole = await (await openEvents(path)).until('end');
  expect(text(whole)).toBe(`run notes\nnotes\n${pieces.join('')}secondthirdready`);
  const logEvents = whole.filter((event) => event.event === 'log');
  for (const [index, event] of logEvents.entries()) {
    const rest = text(logEvents.slice(index + 1));
    const byHeader = await (await openEvents(path, { 'last-event-id': event.id! })).until('end');
    expect(text(byHeader)).toBe(rest);
    const byQuery = await (await openEvents(`${path}?lastEventId=${encodeURIComponent(event.id!)}`)).until('end');
    expect(text(byQuery)).toBe(rest);
  }
});

test('a character that comes in pieces is told once it is whole; other bytes become U+FFFD', async () => {
  const { key, endRun, path } = startRun();
  const gem = Buffer.from('💎');
  await server.write(key('build', '0'), Buffer.concat([Buffer.from('a'), gem.subarray(0, 2)]));
  const events = await openEvents(path);
  expect((await events.until('log')).at(-1)!.data.text).toBe('a');
  await server.write(
    key('build', '0'),
    Buffer.concat([gem.subarray(2), Buffer.from([0xff, 0xc0]), gem.subarray(0, 3)]),
  );
  const second = (await events.until('log')).at(-1)!;
  expect(second.data).toMatchObject({ text: '💎\ufffd\ufffd', offset: 1 });
  await server.finish(key('build', '0'));
  expect((await events.until('log')).at(-1)!.data).toMatchObject({ text: '\ufffd', offset: 7 });
  endRun();
  await events.until('end');
});

test('a job is followed to its own end, also into a later attempt', async () => {
  const { run, key, path } = startRun();
  await server.write(key('build', '0', 1), 'first try\n');
  await server.write(key('deploy', '0'), 'not asked for\n');
  const events = await openEvents(`${path}?job=build`);
  expect(text(await events.until('log'))).toBe('first try\n');
  server.runs.change(run.id, (each) => {
    each.jobs[0]!.attempt = 2;
  });
  await server.write(key('build', '0', 2), 'second try\n');
  const next = (await events.until('log')).at(-1)!;
  expect(next.data).toMatchObject({ attempt: 2, offset: 0, text: 'second try\n' });
  // whoever joins now sees the newest attempt, whoever comes back what is missing
  const late = await openEvents(`${path}?job=build`);
  expect(text(await late.until('log'))).toBe('second try\n');
  await late.close();
  await server.write(key('build', '0', 1), 'late\n');
  const back = await openEvents(`${path}?job=build`, { 'last-event-id': next.id! });
  expect(text(await back.until('log'))).toBe('late\n');
  await back.close();
  for (const attempt of [1, 2]) await server.finish(key('build', '0', attempt));
  server.runs.change(run.id, (each) => {
    each.jobs[0]!.state = 'failed';
  });
  expect((await events.until('end')).at(-1)!.data).toEqual({ state: 'failed' });
});

test('with until=run the stream of one job goes on telling the state of the run', async () => {
  const { run, endRun, path } = startRun();
  const events = await openEvents(`${path}?job=build&until=run`);
  await events.until('state');
  server.runs.change(run.id, (each) => {
    each.jobs[0]!.state = 'succeeded';
  });
  await events.until('state');
  endRun();
  expect((await events.until('end')).at(-1)!.data).toEqual({ state: 'succeeded' });
});

test('a log that nobody closed does not keep the end away', async () => {
  const { key, endRun, path } = startRun();
  await server.write(key('build', '0'), 'lost in the mid');
  endRun();
  const events = await (await openEvents(path)).until('end');
  expect(text(events)).toBe('lost in the mid');
});

test('growth between the last kick and the end is not lost', async () => {
  const { key, endRun, path } = startRun();
  await server.write(key('build', '0'), 'told\n');
  const events = await openEvents(path);
  await events.until('log');
  await server.deps.logs.append(key('build', '0'), 5, Buffer.from('untold\n'));
  endRun();
  expect(text(await events.until('end'))).toBe('untold\n');
});

test('a client that reads nothing holds up nobody and is forgotten when it leaves', async () => {
  const { run, key, endRun, path } = startRun();
  const idle = await fetch(path, { headers: { accept: 'text/event-stream' } });
  const block = Buffer.alloc(1024 * 1024, 'x'.repeat(79) + '\n');
  for (let count = 0; count < 24; count++) await server.write(key('build', '0'), block);
  await server.finish(key('build', '0'));
  endRun();
  const other = await openEvents(path);
  expect(text(await other.until('end')).length).toBe(24 * 1024 * 1024);
  expect(server.runs.listeners(run.id)).toBe(1);
  await idle.body!.cancel();
  await expect.poll(() => server.runs.listeners(run.id)).toBe(0);
});

test('closing the server ends the streams without an end event', async () => {
  const own = await startTestServer();
  const run = sampleRun();
  own.runs.put(run);
  const events = await openEvents(`${own.url}/api/runs/${run.id}/logs`);
  await events.until('state');
  const closed = own.close();
  expect(await events.next()).toBeUndefined();
  await closed;
});

test.each([
  ['Last-Event-ID nonsense', { 'last-event-id': '../../etc' }, '', 400, 'position-invalid'],
  ['Last-Event-ID too large', { 'last-event-id': '0.1.0-zzzzzzzzzzz' }, '', 400, 'position-invalid'],
  ['lastEventId twice', {}, '?lastEventId=a&lastEventId=b', 400, 'query-invalid'],
  ['until nonsense', {}, '?until=never', 400, 'query-invalid'],
  ['unknown job', {}, '?job=nope', 404, 'job-unknown'],
])('%s is refused', async (_name, headers, query, status, code) => {
  const { path } = startRun();
  const response = await fetch(path + query, { headers: { accept: 'text/event-stream', ...headers } });
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toContain('application/problem+json');
  expect(await response.json()).toMatchObject({ status, code });
});

test('HEAD does not wait for the end', async () => {
  const { path } = startRun();
  const response = await fetch(path, { method: 'HEAD', headers: { accept: 'text/event-stream' } });
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
});
