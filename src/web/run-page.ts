/** The page of a run at `/runs/:id`. */
import { isFinal, type Job, type Step } from '../runs/run.ts';
import type { Assets } from './assets.ts';
import { formatSize, splitMessage } from './format.ts';
import { type Html, html, markup } from './html.ts';
import { cutNote, jobEntry, jobStatus, logSection, partTitle, rawLogUrl, runStatus, stepSummary } from './job-parts.ts';
import { renderPage } from './layout.ts';
import { paintLines } from './log-painter.ts';
import type { LogView, RunView } from './run-view.ts';
import { timeTag } from './time-tag.ts';

export function renderRunPage(assets: Assets, view: RunView): string {
  const { run } = view;
  const { subject } = splitMessage(run.message);
  return renderPage(assets, {
    title: `${run.state}: ${subject} · ${run.repository} #${run.number}`,
    state: run.state,
    script: 'run-page.js',
    body: html`<div
        id="run"
        data-run="${run.id}"
        data-job="${view.job?.id}"
        data-attempt="${view.attempt}"
        data-position="${view.position}"
      >
        ${head(view)}
        <div class="columns">
          <div class="side">${jobs(view)}${artifacts(view)}</div>
          ${jobPanel(view)}
        </div>
      </div>
      ${tokenDialog}`,
  });
}

function head({ run }: RunView): Html {
  const { subject, body } = splitMessage(run.message);
  return html`<section class="head" aria-labelledby="subject">
    <p class="meta">
      <a href="/?repository=${encodeURIComponent(run.repository)}">${run.repository}</a> #${run.number}${
        run.pipeline !== undefined && run.pipeline !== '' && html` · ${run.pipeline}`
      }
    </p>
    <h1 id="subject">${subject}</h1>
    <p class="status" id="status" role="status">${runStatus(run)}</p>
    <p class="meta">
      ${run.event.replace('_', ' ')} · <span class="ref">${run.branch ?? run.tag ?? run.ref}</span> ·
      <code title="${run.sha}">${run.sha.slice(0, 8)}</code> · ${run.author} ·
      ${timeTag(run.createdAt)}${
        run.foundBy !== undefined && html` · <span title="Its delivery never came.">found by ${run.foundBy}</span>`
      }${run.rerunOf !== undefined && html` · <a href="/runs/${run.rerunOf}">re-run of an earlier run</a>`}
    </p>
    ${body !== '' && html`<p class="message">${body}</p>`} ${actions(run)}
    <p class="problem-note" id="problem" role="alert" hidden></p>
  </section>`;
}

function actions(run: RunView['run']): Html {
  const over = isFinal(run.state);
  const failed = run.jobs.some((job) => job.state === 'failed' || job.state === 'errored' || job.state === 'cancelled');
  // They need a script: until it runs they would do nothing, so they are not there.
  return html`<div class="actions" id="actions">
    <button type="button" data-action="cancel" hidden${over && html` data-off`}>Cancel</button>
    <button type="button" data-action="rerun" hidden${!over && html` data-off`}>Re-run all jobs</button>
    <button type="button" data-action="rerun-failed" hidden${!(over && failed) && html` data-off`}>
      Re-run failed jobs
    </button>
    <a href="${rawLogUrl(run.id, undefined, undefined)}">Raw log of the run</a>
  </div>`;
}

function jobs({ run, job: selected }: RunView): Html {
  const names = new Map(run.jobs.map((job) => [job.id, job.name]));
  return html`<nav class="jobs" aria-labelledby="jobs-title">
    <h2 id="jobs-title">Jobs</h2>
    ${
      run.jobs.length === 0
        ? html`<p class="empty">This run has no jobs.</p>`
        : html`<ul>
            ${run.jobs.map(
              (job) =>
                html`<li data-job-entry="${job.id}">${jobEntry(run.id, job, names, job.id === selected?.id)}</li>`,
            )}
          </ul>`
    }
  </nav>`;
}

function artifacts({ run, artifacts: list }: RunView): Html {
  const url = (job: string, path: string) =>
    `/api/runs/${run.id}/artifacts/${[job, ...path.split('/')].map(encodeURIComponent).join('/')}`;
  const several = new Set(list.map((each) => each.job)).size > 1;
  return html`<section class="artifacts" id="artifacts" aria-labelledby="artifacts-title">
    <h2 id="artifacts-title">Artifacts</h2>
    ${
      list.length === 0
        ? html`<p class="empty">None.</p>`
        : html`<ul>
              ${list.map(
                (each) =>
                  html`<li>
                    <a href="${url(each.job, each.path)}">${several && `${each.job}/`}${each.path}</a>
                    <span class="size">${formatSize(each.size)}</span>
                  </li>`,
              )}
            </ul>
            <p><a href="/api/runs/${run.id}/artifacts.tar.gz">All as .tar.gz</a></p>`
    }
  </section>`;
}

function jobPanel(view: RunView): Html {
  const { run, job, attempt } = view;
  const logs = new Map(view.logs.map((log) => [log.part, log]));
  if (!job)
    return html`<section class="panel" id="panel" aria-label="Log of the run">
      ${section(view, 'run', partTitle('run'), 'Log of the run', logs, true)}
    </section>`;
  const attempts = Array.from({ length: job.attempt }, (_, index) => index + 1);
  const others = [...logs.keys()].filter((part) => !/^\d+$/.test(part) && part !== 'job');
  return html`<section class="panel" id="panel" aria-labelledby="job-title">
    <h2 id="job-title">${job.name}</h2>
    <p class="status">
      <span class="status" id="job-status">${jobStatus(job)}</span>
      <span class="actions" id="job-actions">${isFinal(run.state) && rerunJob(job)}</span>
      <a href="${rawLogUrl(run.id, job.id, undefined, attempt)}">Raw log of the job</a>
    </p>
    ${
      attempts.length > 1 &&
      html`<nav class="attempts" aria-label="Attempts">
        ${attempts.map((each) => attemptLink(view, job, each))}
      </nav>`
    }
    ${logs.has('job') && section(view, 'job', partTitle('job'), `Notes of job ${job.name}`, logs, true)}
    ${job.steps.map((step, index) => section(view, String(index), stepTitle(view, step), `Log of step ${step.name}`, logs, isOpen(job, step)))}
    ${others.map((part) => section(view, part, partTitle(part), `Log of ${part}`, logs, false))}
  </section>`;
}

/** What it needs runs again with it, as the server says; the others are kept. */
function rerunJob(job: Job): Html {
  return html`<button type="button" data-action="rerun-job" aria-label="Re-run this job: ${job.name}" hidden>
    Re-run this job
  </button>`;
}

function attemptLink({ run, attempt }: RunView, job: Job, each: number): Html {
  const url = `/runs/${run.id}?job=${encodeURIComponent(job.id)}&attempt=${each}`;
  return html`<a href="${url}" ${each === attempt && html`aria-current="true"`}>Attempt ${each}</a> `;
}

/** Of an earlier attempt only the logs are kept: its states would be those of the newest. */
function stepTitle({ job, attempt }: RunView, step: Step): Html {
  return attempt === job?.attempt ? stepSummary(step) : html`<span class="name">${step.name}</span>`;
}

/** What a person looks for is open: what runs, what went wrong, else the last thing that happened. */
function isOpen(job: Job, step: Step): boolean {
  if (step.state === 'running' || step.state === 'failed' || step.state === 'errored') return true;
  const calm = !job.steps.some(
    (each) => each.state === 'running' || each.state === 'failed' || each.state === 'errored',
  );
  return calm && step === job.steps.filter((each) => each.startedAt !== undefined).at(-1);
}

function section(
  { run, job, attempt }: RunView,
  part: string,
  title: Html,
  label: string,
  logs: Map<string, LogView>,
  open: boolean,
): Html {
  const log = logs.get(part);
  const rawUrl = rawLogUrl(run.id, job?.id, part, job ? attempt : undefined);
  const lines = log ? paintLines(log.tail).map((line) => markup(line)) : [];
  return logSection({
    part,
    title,
    label,
    rawUrl,
    open,
    lines,
    firstLine: log?.tailLine ?? 0,
    streamLine: log?.firstLine ?? 0,
    summary: attempt === job?.attempt ? job.steps[Number(part)]?.summary : undefined,
    ...(log && log.tailLine > 0 ? { note: cutNote(lines.length, log.lines, rawUrl) } : {}),
  });
}

const tokenDialog = html`<dialog id="token-dialog" aria-labelledby="token-title">
  <form method="dialog">
    <h2 id="token-title">API token</h2>
    <p>
      Re-running and cancelling need the server's token (<code>IMPGEM_API_TOKEN</code>). It is kept for this tab only.
    </p>
    <label>Token <input type="password" name="token" required autocomplete="off" /></label>
    <p class="actions">
      <button type="submit" value="ok">Go on</button> <button type="submit" value="" formnovalidate>Leave it</button>
    </p>
  </form>
</dialog>`;
