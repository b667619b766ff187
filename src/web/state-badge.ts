/** States are told apart by shape and word; colour only helps. */
import type { State } from '../runs/run.ts';
import { type Html, html, markup } from './html.ts';

const SHAPES: Record<State, string> = {
  pending: '<circle cx="8" cy="8" r="6.25"/><path d="M8 4.8V8l2.1 1.5"/>',
  running: '<path d="M8 1.75A6.25 6.25 0 1 1 1.75 8"/>',
  succeeded: '<circle cx="8" cy="8" r="6.25"/><path d="m5.2 8.2 2 2 3.6-4"/>',
  failed: '<circle cx="8" cy="8" r="6.25"/><path d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"/>',
  cancelled: '<circle cx="8" cy="8" r="6.25"/><path d="m3.8 12.2 8.4-8.4"/>',
  skipped: '<circle cx="8" cy="8" r="6.25"/><path d="M5.2 5.6 7.6 8l-2.4 2.4M8.4 5.6 10.8 8l-2.4 2.4"/>',
  errored: '<path d="M8 1.9 14.6 13.4H1.4Z"/><path d="M8 6.2v3.4M8 11.4v.2"/>',
};

const COLOURS: Record<State, string> = {
  pending: '#8a8f98',
  running: '#3b82f6',
  succeeded: '#1f9d55',
  failed: '#dc3d43',
  cancelled: '#8a8f98',
  skipped: '#8a8f98',
  errored: '#d97706',
};

export function stateIcon(state: State): Html {
  return html`<svg class="icon icon-${state}" viewBox="0 0 16 16" aria-hidden="true">${markup(SHAPES[state])}</svg>`;
}

/** Icon and word. */
export function stateBadge(state: State): Html {
  return html`<span class="state state-${state}">${stateIcon(state)}<span>${state}</span></span>`;
}

/** The picture in the browser's tab, as an SVG file. */
export function faviconSvg(state: State): string {
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke-width="2.2" ' +
    `stroke-linecap="round" stroke-linejoin="round" stroke="${COLOURS[state]}">${SHAPES[state]}</svg>`
  );
}

export function faviconPath(state: State): string {
  return `/assets/state-${state}.svg`;
}
