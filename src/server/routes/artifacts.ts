import { pipeline } from 'node:stream/promises';
import type { Request, RequestHandler, Response, Router } from 'express';
import { InputError } from '../../errors.ts';
import type { AppDeps } from '../app-deps.ts';
import { readRange } from '../byte-range.ts';
import { findRun } from '../find-run.ts';
import { pathText } from '../query.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

/** Artifacts of a run: manifest, one file (with ranges), all of them as an archive. */
export function artifactRoutes(router: Router, deps: Pick<AppDeps, 'runs' | 'artifacts'>): void {
  resource(router, '/api/runs/:id/artifacts', {
    get: [
      async (req, res) => {
        const run = await findRun(deps.runs, req);
        sendJson(res, 200, { artifacts: await deps.artifacts.manifest(run.id) });
      },
    ],
  });
  resource(router, '/api/runs/:id/artifacts.tar.gz', { get: [archive(deps)] });
  resource(router, '/api/runs/:id/artifacts/:job/*path', { get: [file(deps)] });
}

function archive(deps: Pick<AppDeps, 'runs' | 'artifacts'>): RequestHandler {
  return async (req, res) => {
    const run = await findRun(deps.runs, req);
    res.setHeader('Content-Type', 'application/gzip');
    res.setHeader('Content-Disposition', `attachment; filename="artifacts-${run.id}.tar.gz"`);
    if (req.method === 'HEAD') res.end();
    else await send(deps.artifacts.archive(run.id), res);
  };
}

function file(deps: Pick<AppDeps, 'runs' | 'artifacts'>): RequestHandler {
  return async (req, res) => {
    const run = await findRun(deps.runs, req);
    const job = pathText(req, 'job');
    const path = pathText(req, 'path');
    const entry = (await deps.artifacts.manifest(run.id)).find((each) => each.job === job && each.path === path);
    if (!entry) {
      // The store knows why: never there, or expired.
      await deps.artifacts.open(run.id, job, path);
      throw unknownArtifact();
    }
    const etag = `"${entry.sha256}"`;
    res.setHeader('ETag', etag);
    res.setHeader('Accept-Ranges', 'bytes');
    res.setHeader('Cache-Control', 'private, no-cache');
    // Whatever a build made is handed over as a file, never shown as a page of ours.
    res.setHeader('Content-Type', 'application/octet-stream');
    res.setHeader('Content-Disposition', `attachment; filename*=UTF-8''${encodeName(path.split('/').at(-1) ?? path)}`);
    if (req.headers['if-none-match']?.split(/\s*,\s*/).includes(etag)) {
      res.status(304).end();
      return;
    }
    const range = readRange(rangeHeader(req, etag), entry.size);
    if (range === 'unsatisfiable') {
      res.setHeader('Content-Range', `bytes */${entry.size}`);
      throw new InputError('range-invalid', `The file has ${entry.size} bytes.`, { status: 416 });
    }
    const content = req.method === 'HEAD' ? undefined : await deps.artifacts.open(run.id, job, path, range);
    if (range) {
      res.status(206);
      res.setHeader('Content-Range', `bytes ${range.start}-${range.end}/${entry.size}`);
    }
    res.setHeader('Content-Length', range ? range.end - range.start + 1 : entry.size);
    if (content) await send(content.stream, res);
    else res.end();
  };
}

/** A range that was asked for under `If-Range` counts only while the file is still the one meant. */
function rangeHeader(req: Request, etag: string): string | undefined {
  const condition = req.headers['if-range'];
  return condition === undefined || condition === etag ? req.headers.range : undefined;
}

async function send(stream: NodeJS.ReadableStream, res: Response): Promise<void> {
  try {
    await pipeline(stream, res);
  } catch (error) {
    // The client went away: that is its right, and no failure of ours.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}

function unknownArtifact(): InputError {
  return new InputError('artifact-unknown', 'There is no such artifact.', { status: 404 });
}

/** As RFC 8187 wants a file name in a header. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replace(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
