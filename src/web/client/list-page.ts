/** Keeps the list of runs fresh while somebody looks at it. */
import { startClock, tick } from './clock.ts';
import { byId } from './find.ts';

const EVERY_MS = 5_000;
let shown = '';

async function refresh(): Promise<void> {
  if (document.hidden) return;
  const response = await fetch(location.href);
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html').getElementById('runs');
  const current = byId('runs');
  // What did not change stays, and so does a list that somebody moves through by keyboard.
  if (!fresh || fresh.innerHTML === shown || current.contains(document.activeElement)) return;
  current.innerHTML = fresh.innerHTML;
  shown = fresh.innerHTML;
  tick();
}

startClock();
setInterval(() => void refresh().catch(() => undefined), EVERY_MS);
