/** Brings a run's page to life: live states and logs, re-run and cancel. */
import { toText } from '../html.ts';
import { jobEntry, jobStatus, type RunHead, runStatus, stepSummary } from '../job-parts.ts';
import { faviconPath } from '../state-badge.ts';
import type { Job } from '../../runs/run.ts';
import { startClock, tick } from './clock.ts';
import { byId } from './find.ts';
import { followLive } from './live-stream.ts';
import { createLogPanel } from './log-panel.ts';
import { postWithToken, WriteRefused } from './write-request.ts';

const root = byId('run');
const run = root.dataset['run'] ?? '';
const selected = root.dataset['job'] === '' ? undefined : root.dataset['job'];
const attempt = Number(root.dataset['attempt']);
const names = new Map<string, string>();

startClock();
showActions();
document.addEventListener('click', (event) => {
  const button = event.target instanceof Element ? event.target.closest<HTMLButtonElement>('[data-action]') : null;
  if (!button) return;
  // A second click would ask for a second run, even while the page of the first one is on its way.
  button.disabled = true;
  void act(button.dataset['action'] ?? '').then((leaving) => (button.disabled = leaving));
});
follow();

function follow(): void {
  const url = new URL(`/api/runs/${run}/logs`, location.href);
  url.searchParams.set('until', 'run');
  if (selected !== undefined) {
    url.searchParams.set('job', selected);
    url.searchParams.set('attempt', String(attempt));
  }
  const panel = createLogPanel(byId('panel'), { run, job: selected, attempt });
  followLive(url, root.dataset['position'] ?? '', {
    log: (data) => panel.add(data),
    state: (data) => showState(data as RunHead & { jobs: Job[] }),
    end: () => void refresh(),
    connected: (up) => showProblem(up ? '' : 'The connection to the server is lost; trying again.'),
  });
}

function showState(state: RunHead & { jobs: Job[] }): void {
  for (const job of state.jobs) names.set(job.id, job.name);
  byId('status').innerHTML = toText(runStatus(state));
  document.title = document.title.replace(/^[a-z]+:/, `${state.state}:`);
  document.querySelector('link[rel=icon]')?.setAttribute('href', faviconPath(state.state));
  for (const job of state.jobs) showJob(job);
  tick();
}

function showJob(job: Job): void {
  const entry = document.querySelector(`[data-job-entry="${CSS.escape(job.id)}"]`);
  if (entry) entry.innerHTML = toText(jobEntry(run, job, names, job.id === selected));
  if (job.id !== selected) return;
  if (job.attempt !== attempt) {
    // The job started over. Whoever looks at an earlier attempt on purpose stays there.
    if (job.attempt > attempt && !new URL(location.href).searchParams.has('attempt')) location.reload();
    return;
  }
  byId('job-status').innerHTML = toText(jobStatus(job));
  for (const [index, step] of job.steps.entries()) {
    const details = document.querySelector<HTMLDetailsElement>(`#panel details[data-part="${index}"]`);
    const summary = details?.querySelector('summary');
    if (!details || !summary) continue;
    const before = details.dataset['state'];
    summary.innerHTML = toText(stepSummary(step));
    const own = details.querySelector<HTMLElement>('.summary');
    if (own) {
      own.textContent = step.summary ?? '';
      own.hidden = step.summary === undefined;
    }
    details.dataset['state'] = step.state;
    if (before !== step.state && ['running', 'failed', 'errored'].includes(step.state)) details.open = true;
  }
}

/** What only the server knows once a run is over: artifacts, and what can be done with it now. */
async function refresh(): Promise<void> {
  const response = await fetch(location.href);
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const id of ['artifacts', 'actions', 'job-actions'])
    document.getElementById(id)?.replaceWith(fresh.getElementById(id) ?? '');
  showActions();
}

function showActions(): void {
  for (const button of document.querySelectorAll<HTMLElement>('[data-action]:not([data-off])')) button.hidden = false;
}

/** Gives whether another page is on its way. */
async function act(action: string): Promise<boolean> {
  showProblem('');
  try {
    if (action === 'cancel') await postWithToken(`/api/runs/${run}/cancel`, {});
    else {
      const created = await postWithToken(`/api/runs/${run}/rerun`, { jobs: jobsOf(action) });
      if (created) location.href = `/runs/${created.id}`;
      return created !== undefined;
    }
  } catch (error) {
    showProblem(error instanceof WriteRefused ? error.message : 'The server could not be reached.');
  }
  return false;
}

function jobsOf(action: string): 'all' | 'failed' | { job: string | undefined } {
  if (action === 'rerun-job') return { job: selected };
  return action === 'rerun-failed' ? 'failed' : 'all';
}

function showProblem(text: string): void {
  const note = byId('problem');
  note.textContent = text;
  note.hidden = text === '';
}
