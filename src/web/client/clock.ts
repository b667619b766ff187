import { formatAgo, formatDuration, formatTime } from '../format.ts';

/** Lets durations grow and turns times into "5 min ago", now and every second. */
export function startClock(): void {
  tick();
  setInterval(tick, 1000);
}

/** Brings all times on the page up to date; call it after new ones came. */
export function tick(): void {
  const now = Date.now();
  for (const element of document.querySelectorAll<HTMLElement>('[data-since]'))
    setText(element, formatDuration(element.dataset['since'], new Date(now).toISOString()));
  for (const element of document.querySelectorAll<HTMLTimeElement>('time[data-ago]')) {
    setText(element, formatAgo(element.dateTime, now));
    element.title = formatTime(element.dateTime);
  }
}

/** Writing the same text again would make the browser lay the page out again. */
function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
