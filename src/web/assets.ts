/** The bundled scripts and style sheet of the pages, read once from the folder that the build made. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { STATES } from '../runs/run.ts';
import { faviconPath, faviconSvg } from './state-badge.ts';

export interface Asset {
  body: Buffer;
  type: string;
  /** Address with a version: what it answers never changes. */
  url: string;
}

export interface Assets {
  /** Undefined: no such asset. */
  find(name: string): Asset | undefined;
  /** Address of an asset for a page. */
  url(name: string): string;
}

/** Only these: nothing else in the folder can be asked for. */
const FILES: Record<string, string> = {
  'run-page.js': 'text/javascript; charset=utf-8',
  'list-page.js': 'text/javascript; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
};

export function openAssets(folder: string): Assets {
  const known = new Map<string, Asset>();
  const add = (name: string, body: Buffer, type: string): Asset => {
    const version = createHash('sha256').update(body).digest('hex').slice(0, 12);
    const asset = { body, type, url: `/assets/${name}?v=${version}` };
    known.set(name, asset);
    return asset;
  };
  for (const state of STATES)
    add(faviconPath(state).slice('/assets/'.length), Buffer.from(faviconSvg(state)), 'image/svg+xml; charset=utf-8');
  const find = (name: string): Asset | undefined => {
    const type = Object.hasOwn(FILES, name) ? FILES[name] : undefined;
    return known.get(name) ?? (type === undefined ? undefined : add(name, readFileSync(join(folder, name)), type));
  };
  return { find, url: (name) => find(name)?.url ?? `/assets/${name}` };
}
