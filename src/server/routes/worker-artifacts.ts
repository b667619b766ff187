import type { RequestHandler, Router } from 'express';
import type { ArtifactUpload } from '../../artifacts/artifact-store.ts';
import { InputError } from '../../errors.ts';
import type { AppDeps } from '../app-deps.ts';
import { mediaType } from '../body.ts';
import { findRun } from '../find-run.ts';
import { pathText, queryText } from '../query.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

/** Takes an artifact from a worker on another machine: the body is the file, as it comes. */
export function workerArtifactRoutes(
  router: Router,
  deps: Pick<AppDeps, 'artifacts' | 'runs'>,
  mayWrite: RequestHandler,
): void {
  resource(router, '/api/worker/artifacts/:run/:job', {
    put: [
      mayWrite,
      async (req, res) => {
        const run = await findRun(deps.runs, req, 'run');
        const job = pathText(req, 'job');
        if (!run.jobs.some((each) => each.id === job))
          throw new InputError('job-unknown', `Run ${run.id} has no job ${JSON.stringify(job.slice(0, 100))}.`, {
            status: 404,
          });
        if (mediaType(req) !== 'application/octet-stream')
          throw new InputError('content-type-unsupported', 'Send the file as application/octet-stream.', {
            status: 415,
          });
        const upload: ArtifactUpload = { path: queryText(req, 'path', 5000) ?? '' };
        const [name, expiresAt, sha256] = ['name', 'expiresAt', 'sha256'].map((each) => queryText(req, each));
        if (name !== undefined) upload.name = name;
        if (expiresAt !== undefined) upload.expiresAt = expiresAt;
        if (sha256 !== undefined) upload.sha256 = sha256;
        sendJson(res, 200, await deps.artifacts.put(run.id, job, upload, req as AsyncIterable<Buffer>));
      },
    ],
  });
}
