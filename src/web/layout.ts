import type { State } from '../runs/run.ts';
import type { Assets } from './assets.ts';
import { type Content, html, toText } from './html.ts';
import { faviconPath } from './state-badge.ts';

export interface PageFrame {
  title: string;
  /** The picture in the tab. */
  state: State;
  /** Script of the page; it works without. */
  script?: string;
  body: Content;
}

/** A whole page. */
export function renderPage(assets: Assets, { title, state, script, body }: PageFrame): string {
  return toText(
    html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <meta name="color-scheme" content="light dark" />
          <title>${title}</title>
          <link rel="icon" type="image/svg+xml" href="${faviconPath(state)}" />
          <link rel="stylesheet" href="${assets.url('style.css')}" />
          ${script !== undefined && html`<script type="module" src="${assets.url(script)}"></script>`}
        </head>
        <body>
          <a class="skip" href="#main">Skip to content</a>
          <header class="top"><a class="brand" href="/">${gem} Imp Gem</a></header>
          <main id="main">${body}</main>
        </body>
      </html>`,
  );
}

const gem = html`<svg class="gem" viewBox="0 0 16 16" aria-hidden="true">
  <path d="M4.5 2.5h7L14.5 6 8 14 1.5 6Z" />
  <path d="M1.5 6h13M5.8 6 8 14l2.2-8L8 2.5Z" />
</svg>`;
