/** The list of runs at `/`. */
import { type Run, STATES, type State } from '../runs/run.ts';
import type { RunFilter } from '../runs/store.ts';
import type { Assets } from './assets.ts';
import { splitMessage } from './format.ts';
import { type Html, html } from './html.ts';
import { renderPage } from './layout.ts';
import { stateBadge } from './state-badge.ts';
import { durationTag, timeTag } from './time-tag.ts';

export interface ListView {
  runs: Run[];
  filter: RunFilter;
  /** Cursor of the older ones. */
  next?: string | undefined;
}

export function renderListPage(assets: Assets, view: ListView): string {
  return renderPage(assets, {
    title: 'Runs · Imp Gem',
    state: newestState(view.runs),
    script: 'list-page.js',
    body: html`<h1>Runs</h1>
      ${filterForm(view.filter)}
      <div id="runs">${runList(view)}</div>`,
  });
}

function newestState(runs: Run[]): State {
  return runs[0]?.state ?? 'pending';
}

function filterForm(filter: RunFilter): Html {
  const option = (state: State | '') =>
    html`<option value="${state}" ${(filter.state ?? '') === state && html` selected`}>${state === '' ? 'any' : state}</option>`;
  return html`<form class="filter" method="get" action="/" role="search" aria-label="Filter runs">
    <label>Repository <input name="repository" value="${filter.repository}" placeholder="gitea/ann/app" spellcheck="false" /></label>
    <label>Branch <input name="branch" value="${filter.branch}" placeholder="main" spellcheck="false" /></label>
    <label>State <select name="state">${['' as const, ...STATES].map(option)}</select></label>
    <button type="submit">Filter</button>
    ${isFiltered(filter) && html`<a href="/">Clear</a>`}
  </form>`;
}

function runList({ runs, filter, next }: ListView): Html {
  if (runs.length === 0)
    return html`<p class="empty">
      ${
        isFiltered(filter) || filter.cursor !== undefined
          ? 'No run fits this filter.'
          : 'No run yet. Point a webhook of your forge here and push, or start one over the API.'
      }
    </p>`;
  return html`<ol class="runs">
      ${runs.map(row)}
    </ol>
    <nav class="pages" aria-label="Pages">
      ${filter.cursor !== undefined && html`<a href="/${query({ ...filter, cursor: undefined })}">Newest</a>`}
      ${next !== undefined && html`<a rel="next" href="/${query({ ...filter, cursor: next })}">Older runs</a>`}
    </nav>`;
}

function row(run: Run): Html {
  const { subject } = splitMessage(run.message);
  return html`<li class="run">
    ${stateBadge(run.state)}
    <div class="what">
      <a class="subject" href="/runs/${run.id}">${subject}</a>
      <p class="meta">
        <a href="/${query({ repository: run.repository })}">${run.repository}</a> #${run.number}${
          run.pipeline !== undefined && run.pipeline !== '' && html` · ${run.pipeline}`
        }
        · ${run.event.replace('_', ' ')} · <span class="ref">${run.branch ?? run.tag ?? run.ref}</span> ·
        <code>${run.sha.slice(0, 8)}</code> · ${run.author}
      </p>
      ${run.reason !== undefined && html`<p class="reason">${run.reason}</p>`}
    </div>
    <p class="when">${timeTag(run.createdAt)}${durationTag(run.startedAt, run.endedAt)}</p>
  </li>`;
}

function isFiltered(filter: RunFilter): boolean {
  return [filter.repository, filter.branch, filter.sha, filter.state].some((value) => value !== undefined);
}

function query(filter: { [name in keyof RunFilter]?: RunFilter[name] | undefined }): string {
  const pairs = Object.entries(filter).filter(([name, value]) => value !== undefined && name !== 'limit');
  const text = new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, String(value)])).toString();
  return text === '' ? '' : `?${text}`;
}
