import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { isFinal, type LogKey, type RunRecord } from '../../src/runs/run.ts';
import { createApp } from '../../src/server/app.ts';
import { startServer } from '../../src/server/start-server.ts';
import { launchBrowser } from '../support/browser.ts';
import { bundleWeb } from '../support/bundle-web.ts';
import { sampleRun, startTestServer, type TestServer, TOKEN } from '../support/test-server.ts';

let browser: Browser;
let server: TestServer;
let assets: string;
/** What the browser complained about: a page without mistakes leaves it empty. */
const complaints: string[] = [];

beforeAll(async () => {
  assets = await mkdtemp(join(tmpdir(), 'impgem-assets-'));
  await bundleWeb(assets);
  server = await startTestServer({ assets });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await server.close();
  await rm(assets, { recursive: true, force: true });
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  expect(complaints.splice(0)).toEqual([]);
});

async function open(path: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage();
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('401')) complaints.push(message.text());
  });
  await page.goto(server.url + path);
  return page;
}

function startRun(overrides: Partial<RunRecord> = {}) {
  const run = sampleRun(overrides);
  server.runs.put(run);
  const key = (job: string, part: string, attempt = 1): LogKey => ({ run: run.id, job, attempt, part });
  return { run, key };
}

const lines = (page: Page, part: string) => page.locator(`details[data-part="${part}"] li`);

test('a push that catch-up found says so', async () => {
  const { run } = startRun({ foundBy: 'catch-up' });
  const page = await open(`/runs/${run.id}`);
  await page.getByText('found by catch-up').waitFor();
  expect(await (await fetch(`${server.url}/api/runs/${run.id}`)).json()).toMatchObject({ foundBy: 'catch-up' });
});

test('a live log appears, follows and ends, with the states beside it', async () => {
  const { run, key } = startRun();
  await server.write(key('build', '0'), 'history\n');
  const page = await open(`/runs/${run.id}`);
  await page.getByText('history').waitFor({ state: 'attached' });
  server.runs.change(run.id, (each) => {
    each.jobs[0]!.steps[0]!.state = 'running';
  });
  await server.write(key('build', '0'), 'half ');
  await page.getByText('half').waitFor();
  await server.write(key('build', '0'), 'a line\n\x1b[32mgreen\x1b[0m\n');
  const green = page.locator('.ansi-green-fg');
  await green.waitFor();
  expect(await green.textContent()).toBe('green');
  expect(await lines(page, '0').allTextContents()).toEqual(['history', 'half a line', 'green']);
  await server.finish(key('build', '0'));
  server.runs.change(run.id, (each) => {
    Object.assign(each.jobs[0]!.steps[0]!, { state: 'failed', exitCode: 2, summary: '**3** of 4 <passed>' });
    Object.assign(each.jobs[0]!, { state: 'failed', reason: 'step compile failed' });
    Object.assign(each.jobs[1]!, { state: 'skipped', reason: 'build failed' });
    each.state = 'failed';
  });
  await page.getByText('exit code 2').waitFor();
  await page.getByText('**3** of 4 <passed>').waitFor();
  await page.getByText('skipped · build failed').waitFor();
  await expect.poll(() => page.title()).toMatch(/^failed: Make it work/);
  expect(await page.locator('link[rel=icon]').getAttribute('href')).toBe('/assets/state-failed.svg');
  // once the run is over, it can be re-run and no longer cancelled
  await page.getByRole('button', { name: 'Re-run failed jobs' }).waitFor();
  await page.getByRole('button', { name: 'Cancel' }).waitFor({ state: 'hidden' });
});

test('hostile text is text, wherever it stands', async () => {
  const hostile = '<img src=x onerror="document.title=\'owned\'">';
  const { run, key } = startRun({
    message: `${hostile}\n\n${hostile}`,
    author: hostile,
    branch: hostile,
    reason: hostile,
  });
  run.jobs[0]!.name = hostile;
  run.jobs[0]!.waitingFor = hostile;
  run.jobs[0]!.steps[0]!.name = hostile;
  run.jobs[0]!.steps[0]!.reason = hostile;
  run.jobs[0]!.steps[0]!.state = 'running';
  await server.write(key('build', '0'), `${hostile}\n\x1b]8;;javascript:document.title='owned'\x07click\x1b]8;;\x07\n`);
  const list = await open(`/?branch=${encodeURIComponent(hostile)}`);
  await list.getByRole('link', { name: hostile }).waitFor();
  const page = await open(`/runs/${run.id}`);
  await expect.poll(() => lines(page, '0').count()).toBe(2);
  server.runs.change(run.id, (each) => {
    each.reason = `now ${hostile}`;
  });
  await page.getByText(`now ${hostile}`).waitFor();
  for (const each of [list, page]) {
    expect(await each.locator('img').count()).toBe(0);
    expect(await each.locator('a[href^=javascript]').count()).toBe(0);
    expect(await each.title()).not.toBe('owned');
  }
});

test('without a script the page shows what there is', async () => {
  const { run, key } = startRun();
  await server.write(key('build', '0'), '\x1b[31mred\x1b[0m <b>\n');
  run.jobs[0]!.steps[0]!.state = 'running';
  const page = await open(`/runs/${run.id}`, { javaScriptEnabled: false });
  expect(await lines(page, '0').allTextContents()).toEqual(['red <b>']);
  expect(await page.locator('.ansi-red-fg').count()).toBe(1);
  expect(await page.getByRole('button').count()).toBe(0);
  await page.getByRole('link', { name: /deploy/ }).click();
  await page.getByRole('heading', { name: 'deploy' }).waitFor();
});

test('of a large log the last lines are kept, and the page says so', async () => {
  const { run, key } = startRun();
  run.jobs[0]!.steps[0]!.state = 'running';
  const text = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, index) => `line ${from + index}\n`).join('');
  await server.write(key('build', '0'), text(0, 20_000));
  const page = await open(`/runs/${run.id}`);
  await page.getByText('Showing the last 5,000 of 20,000 lines.').waitFor();
  await expect.poll(() => lines(page, '0').count()).toBe(5_000);
  expect(await lines(page, '0').first().textContent()).toBe('line 15000');
  expect(await page.locator('details[data-part="0"] ol').first().getAttribute('start')).toBe('15001');
  for (let from = 20_000; from < 60_000; from += 10_000)
    await server.write(key('build', '0'), text(from, from + 10_000));
  await page.getByText('line 59999').waitFor();
  expect(await lines(page, '0').count()).toBeLessThanOrEqual(5_250);
  const first = (await lines(page, '0').first().textContent())!.split(' ')[1];
  expect(await page.locator('details[data-part="0"] ol').first().getAttribute('start')).toBe(String(Number(first) + 1));
  await page.getByText('of 60,000 lines.').waitFor();
  const raw = await page.locator('details[data-part="0"] .cut a').getAttribute('href');
  expect((await (await server.get(raw!)).text()).length).toBe(text(0, 60_000).length);
});

test('cancelling asks for the token once', async () => {
  const { run } = startRun();
  const page = await open(`/runs/${run.id}`);
  await page.getByRole('button', { name: 'Cancel' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Token').fill('wrong');
  await dialog.getByRole('button', { name: 'Go on' }).click();
  await page.getByText('This token is not valid.').waitFor();
  expect((await server.runs.get(run.id))!.state).toBe('running');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await dialog.getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await expect.poll(() => page.title()).toMatch(/^cancelled:/);
  expect(isFinal((await server.runs.get(run.id))!.state)).toBe(true);
  // the token is known now: re-running goes on without a word
  const asked: string[] = [];
  page.on('request', (request) => {
    if (request.method() === 'POST') asked.push(request.url());
  });
  await page.getByRole('button', { name: 'Re-run all jobs' }).dblclick();
  await page.waitForURL((url) => url.pathname !== `/runs/${run.id}`);
  const created = await server.runs.get(page.url().split('/').at(-1)!);
  expect(created!.rerunOf).toBe(run.id);
  expect(asked).toHaveLength(1);
  await page.getByText('re-run of an earlier run').waitFor();
});

test('one job is run again, once the run is over', async () => {
  const { run } = startRun();
  const page = await open(`/runs/${run.id}?job=deploy`);
  await page.getByRole('heading', { name: 'deploy' }).waitFor();
  const button = page.getByRole('button', { name: 'Re-run this job: deploy' });
  expect(await button.count()).toBe(0);
  server.runs.change(run.id, (each) => {
    for (const job of each.jobs) job.state = 'succeeded';
    each.state = 'succeeded';
  });
  const asked = page.waitForRequest((request) => request.method() === 'POST');
  await button.click();
  await page.getByRole('dialog').getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  expect((await asked).postDataJSON()).toEqual({ jobs: { job: 'deploy' } });
  await page.waitForURL((url) => url.pathname !== `/runs/${run.id}`);
  expect((await server.runs.get(page.url().split('/').at(-1)!))!.rerunOf).toBe(run.id);
});

test('who leaves the token dialog has changed nothing', async () => {
  const { run } = startRun();
  const page = await open(`/runs/${run.id}`);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Leave it' }).click();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  expect((await server.runs.get(run.id))!.state).toBe('running');
});

test('a job that starts over is shown anew, its earlier attempt stays', async () => {
  const { run, key } = startRun();
  await server.write(key('build', '0'), 'first try\n');
  const page = await open(`/runs/${run.id}`);
  await page.getByText('first try').waitFor({ state: 'attached' });
  await server.write(key('build', 'job', 2), 'attempt 2: worker w1 was lost\n');
  server.runs.change(run.id, (each) => {
    each.jobs[0]!.attempt = 2;
  });
  await page.getByText('worker w1 was lost').waitFor();
  await page.getByRole('link', { name: 'Attempt 1' }).click();
  await page.getByText('first try').waitFor({ state: 'attached' });
  expect(await page.getByText('worker w1 was lost').count()).toBe(0);
});

test('a run without jobs shows why', async () => {
  const { run, key } = startRun({ jobs: [], state: 'errored', reason: 'the pipeline file is not valid' });
  await server.write(key('', 'run'), '.impgem.yml:4:3 unknown key "stepz"\n');
  await server.finish(key('', 'run'));
  const page = await open(`/runs/${run.id}`);
  await page.getByText('unknown key "stepz"').waitFor();
  await page.getByText('the pipeline file is not valid').waitFor();
});

test('notes and services join while the page is open', async () => {
  const { run, key } = startRun();
  const page = await open(`/runs/${run.id}`);
  await server.write(key('build', 'service-redis'), 'ready to accept\n');
  await page.getByText('service redis').click();
  await page.getByText('ready to accept').waitFor();
  await server.write(key('build', 'job'), 'a note\n');
  await page.getByText('a note').waitFor();
  expect(await page.locator('#panel details').first().getAttribute('data-part')).toBe('job');
});

test('a page outlives its server: it comes back where it was', async () => {
  const { run, key } = startRun();
  run.jobs[0]!.steps[0]!.state = 'running';
  const first = await startServer(createApp(server.deps), '127.0.0.1:0');
  await server.write(key('build', '0'), 'before\n');
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${first.url}/runs/${run.id}`);
  await page.getByText('before').waitFor();
  await first.close();
  await page.getByText('The connection to the server is lost').waitFor();
  await server.write(key('build', '0'), 'meanwhile\n');
  const second = await startServer(createApp(server.deps), new URL(first.url).host);
  await page.getByText('meanwhile').waitFor();
  await server.write(key('build', '0'), 'after\n');
  await page.getByText('after', { exact: true }).waitFor();
  expect(await lines(page, '0').allTextContents()).toEqual(['before', 'meanwhile', 'after']);
  await page.getByText('The connection to the server is lost').waitFor({ state: 'hidden' });
  await second.close();
});

test('whoever scrolls up stays there, whoever goes back to the end follows again', async () => {
  const { run, key } = startRun();
  run.jobs[0]!.steps[0]!.state = 'running';
  const many = (word: string) => Array.from({ length: 300 }, (_, index) => `${word} ${index}\n`).join('');
  await server.write(key('build', '0'), many('early'));
  const page = await open(`/runs/${run.id}`);
  const box = page.locator('details[data-part="0"] .log');
  const fromEnd = () =>
    box.evaluate(({ scrollHeight, clientHeight, scrollTop }) => scrollHeight - clientHeight - scrollTop);
  await expect.poll(fromEnd).toBeLessThan(3);
  await page.getByText('early 299').waitFor();
  await box.hover();
  await page.mouse.wheel(0, -2000);
  await expect.poll(fromEnd).toBeGreaterThan(1000);
  await server.write(key('build', '0'), many('late'));
  await expect.poll(() => lines(page, '0').count()).toBe(600);
  expect(await fromEnd()).toBeGreaterThan(1000);
  await page.mouse.wheel(0, 100_000);
  await expect.poll(fromEnd).toBeLessThan(3);
  await server.write(key('build', '0'), many('last'));
  await expect.poll(() => lines(page, '0').count()).toBe(900);
  await expect.poll(fromEnd).toBeLessThan(3);
});

test('artifacts are listed and downloaded', async () => {
  const { run } = startRun();
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/octet-stream' };
  await fetch(`${server.url}/api/worker/artifacts/${run.id}/build?path=out/a%20b.html`, {
    method: 'PUT',
    headers,
    body: '<script>',
  });
  const page = await open(`/runs/${run.id}`);
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'out/a b.html' }).click();
  expect((await download).suggestedFilename()).toBe('a b.html');
  expect(await page.getByText('8 B').count()).toBe(1);
});

test('the list filters, pages and refreshes itself', async () => {
  const repository = 'gitea/list/page';
  for (let number = 1; number <= 35; number++) startRun({ repository, number, message: `Change ${number}` });
  const page = await open('/');
  await page.getByLabel('Repository').fill(repository);
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.getByRole('link', { name: 'Change 35' }).waitFor();
  expect(await page.locator('.run').count()).toBe(30);
  await page.getByRole('link', { name: 'Older runs' }).click();
  await page.getByRole('link', { name: 'Change 5', exact: true }).waitFor();
  await page.getByRole('link', { name: 'Newest' }).click();
  await page.getByRole('link', { name: 'Change 35' }).waitFor();
  startRun({ repository, number: 36, message: 'Change 36' });
  await page.getByRole('link', { name: 'Change 36' }).waitFor();
});

test('what is not there is said in a page to a browser', async () => {
  const page = await browser.newPage();
  const response = await page.goto(`${server.url}/runs/nope`);
  expect(response!.status()).toBe(404);
  await page.getByRole('heading', { name: '404 Not Found' }).waitFor();
  await page.getByText('There is no run nope.').waitFor();
});

test('the page is whole for a screen reader', async () => {
  const { run, key } = startRun();
  run.jobs[0]!.steps[0]!.state = 'running';
  await server.write(key('build', '0'), 'x\n');
  const page = await open(`/runs/${run.id}`);
  await page.getByRole('log', { name: 'Log of step compile' }).waitFor();
  expect(await page.getByRole('heading', { level: 1 }).count()).toBe(1);
  await page.getByRole('navigation', { name: 'Jobs' }).waitFor();
  await page.keyboard.press('Tab');
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to content');
});
