import type { Assets } from './assets.ts';
import { html } from './html.ts';
import { renderPage } from './layout.ts';

/** What a person sees instead of problem details. */
export function renderProblemPage(assets: Assets, status: number, title: string, detail: string): string {
  return renderPage(assets, {
    title: `${title} · Imp Gem`,
    state: 'errored',
    body: html`<div class="problem">
      <h1>${status} ${title}</h1>
      <p>${detail}</p>
      <p><a href="/">All runs</a></p>
    </div>`,
  });
}
