import { formatDuration, formatTime } from './format.ts';
import { type Html, html } from './html.ts';

/** A point in time; a script turns it into "5 min ago". */
export function timeTag(time: string): Html {
  return html`<time datetime="${time}" data-ago>${formatTime(time)}</time>`;
}

/** How long something took, or has been going on: a script lets that grow. */
export function durationTag(startedAt: string | undefined, endedAt: string | undefined): Html | undefined {
  if (startedAt === undefined) return undefined;
  if (endedAt !== undefined) return html`<span class="duration">${formatDuration(startedAt, endedAt)}</span>`;
  const now = new Date().toISOString();
  return html`<span class="duration" data-since="${startedAt}">${formatDuration(startedAt, now)}</span>`;
}
