import { afterAll, beforeAll, expect, test } from 'vitest';
import { sampleRun, startTestServer, type TestServer } from '../support/test-server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ mostLive: 2 });
});
afterAll(() => server.close());

test('more live logs than there are places for are refused until a reader leaves', async () => {
  const run = sampleRun({ state: 'running' });
  server.runs.put(run);
  const follow = async (): Promise<{ status: number; leave: () => void }> => {
    const reader = new AbortController();
    const response = await fetch(`${server.url}/api/runs/${run.id}/logs`, {
      headers: { accept: 'text/event-stream' },
      signal: reader.signal,
    });
    return { status: response.status, leave: () => reader.abort() };
  };
  const [first, second] = [await follow(), await follow()];
  expect([first.status, second.status]).toEqual([200, 200]);
  expect((await follow()).status).toBe(503);
  // As text, it holds no place.
  expect((await server.get(`/api/runs/${run.id}/logs`)).status).toBe(200);
  first.leave();
  await expect.poll(async () => (await follow()).status, { timeout: 5000 }).toBe(200);
  second.leave();
});
