/** The parts of a run's page that change while the run goes on: drawn by the server first, by the script afterwards. */
import { isFinal, type Job, type Run, type Step } from '../runs/run.ts';
import { formatCount } from './format.ts';
import { type Content, type Html, html } from './html.ts';
import { stateBadge, stateIcon } from './state-badge.ts';
import { durationTag } from './time-tag.ts';

export type RunHead = Pick<Run, 'id' | 'state' | 'reason' | 'startedAt' | 'endedAt'>;

/** State, duration and reason of the run. */
export function runStatus(run: RunHead): Html {
  return html`${stateBadge(run.state)}
  ${durationTag(run.startedAt, run.endedAt)}${
    run.reason !== undefined && html` <span class="reason">${run.reason}</span>`
  }`;
}

/** One line of the list of jobs; `names` gives the names of other jobs by id. */
export function jobEntry(runId: string, job: Job, names: Map<string, string>, selected: boolean): Html {
  const waits = job.waitingFor !== undefined && !isFinal(job.state) ? `waits for ${job.waitingFor}` : undefined;
  const needs = job.needs.map((id) => names.get(id) ?? id).join(', ');
  const after = needs === '' ? undefined : `after ${needs}`;
  const facts = [job.state, job.reason ?? waits ?? after].filter((text) => text !== undefined).join(' · ');
  return html`<a href="/runs/${runId}?job=${encodeURIComponent(job.id)}" ${selected && html` aria-current="true"`}>
    ${stateIcon(job.state)}<span class="name">${job.name}</span>${durationTag(job.startedAt, job.endedAt)}
    <span class="facts">${facts}</span>
  </a>`;
}

/** State of the selected job, beside its name. */
export function jobStatus(job: Job): Html {
  const facts: Content[] = [
    job.attempt > 1 && html`<span>attempt ${job.attempt}</span>`,
    job.worker !== undefined && html`<span>on ${job.worker}</span>`,
    job.allowFailure === true && html`<span>may fail</span>`,
    job.reason !== undefined && html`<span class="reason">${job.reason}</span>`,
    job.waitingFor !== undefined &&
      !isFinal(job.state) &&
      html`<span class="reason">waits for ${job.waitingFor}</span>`,
  ];
  return html`${stateBadge(job.state)} ${durationTag(job.startedAt, job.endedAt)} ${facts}`;
}

/** The line that opens and closes a step's log. */
export function stepSummary(step: Step): Html {
  const exit = step.exitCode !== undefined && step.exitCode !== 0 ? exitText(step.exitCode) : undefined;
  const why = [exit, step.reason].filter((text) => text !== undefined).join(', ');
  return html`${stateIcon(step.state)}<span class="name">${step.name}</span>
    <span class="word">${step.state}</span>${
      why !== '' && html`<span class="reason">${why}</span>`
    }${durationTag(step.startedAt, step.endedAt)}`;
}

function exitText(code: number): string {
  const words: Record<number, string> = {
    126: 'not executable',
    127: 'command not found',
    137: 'killed',
    143: 'terminated',
  };
  return `exit code ${code}${words[code] === undefined ? '' : ` (${words[code]})`}`;
}

/** Name of a log that is not a step's. */
export function partTitle(part: string): Html {
  const names: Record<string, string> = { job: 'Notes', run: 'Notes of this run' };
  return html`<span class="name">${names[part] ?? part.replace(/^service-/, 'service ')}</span>`;
}

/** Says how much of a log is shown. */
export function cutNote(shown: number, total: number, rawUrl: string): Html {
  return html`Showing the last ${formatCount(shown)} of ${formatCount(total)} lines. <a href="${rawUrl}">Raw log</a>`;
}

export interface LogSection {
  part: string;
  title: Content;
  /** For screen readers. */
  label: string;
  rawUrl: string;
  open: boolean;
  /** Painted lines; the first has this number, counted from 0. */
  lines: Html[];
  firstLine: number;
  /** Number of the line at which the live stream goes on. */
  streamLine: number;
  note?: Html;
  /** What the step said of itself in `$IMPGEM_SUMMARY`. */
  summary?: string | undefined;
}

/** A log that folds. The list counts its lines itself, so that copying leaves the numbers out. */
export function logSection(section: LogSection): Html {
  return html`<details class="part" data-part="${section.part}" data-first="${section.streamLine}" ${section.open && html`open`}>
    <summary>${section.title}</summary>
    <p class="summary"${section.summary === undefined && html` hidden`}>${section.summary}</p>
    <p class="cut" ${section.note === undefined && html` hidden`}>${section.note}</p>
    <div class="log" role="log" aria-label="${section.label}" tabindex="0">
      <ol start="${section.firstLine + 1}">${section.lines.map((line) => html`<li>${line}</li>`)}</ol>
    </div>
    <p class="raw"><a href="${section.rawUrl}">Raw log</a></p>
  </details>`;
}

/** Address of the raw text of one log. */
export function rawLogUrl(runId: string, job: string | undefined, part: string | undefined, attempt?: number): string {
  const query = new URLSearchParams({
    ...(job === undefined || job === '' ? {} : { job }),
    ...(part === undefined || job === undefined || job === '' ? {} : { step: part }),
    ...(attempt === undefined ? {} : { attempt: String(attempt) }),
  }).toString();
  return `/api/runs/${runId}/logs${query === '' ? '' : `?${query}`}`;
}
