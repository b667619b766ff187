import { createHash } from 'node:crypto';
import { ImpGemError, InputError } from '../errors.ts';
import { type Patience, request, type ServerAddress } from '../request.ts';
import type { ArtifactFile, ArtifactStore } from '../worker/ports.ts';
import { mapParallel } from './map-parallel.ts';
import { openPlainFile } from './open-plain-file.ts';

const PARALLEL = 4;
const BLOCK = 512 * 1024;
/** What the server refuses for the file's name or size; whatever else it refuses is not the pipeline's fault. */
const OF_THE_PIPELINE = new Set(['path-invalid', 'name-invalid', 'query-invalid', 'quota']);

/**
 * The artifact store of a server that shares no disk with us, for one job. Files are read as `openPlainFile` does, and what the
 * server stored is compared with what was sent. Errors: those of the artifact store, `artifact-differs`,
 * `token-refused`, `server-unreachable`.
 */
export function createHttpArtifactStore(server: ServerAddress, patience: Patience): ArtifactStore {
  return {
    add: async (run, job, files) => {
      await mapParallel(files, PARALLEL, (file) => send(server, patience, run, job, file));
    },
  };
}

async function send(
  server: ServerAddress,
  patience: Patience,
  run: string,
  job: string,
  file: ArtifactFile,
): Promise<void> {
  let sent = createHash('sha256');
  const content = async function* () {
    const handle = await openPlainFile(file.source);
    for await (const block of handle.createReadStream({ highWaterMark: BLOCK })) {
      sent.update(block as Buffer);
      yield block as Buffer;
    }
  };
  const query = new URLSearchParams({ path: file.path });
  if (file.name !== undefined) query.set('name', file.name);
  if (file.expiresAt !== undefined) query.set('expiresAt', file.expiresAt);
  const path = `/api/worker/artifacts/${encodeURIComponent(run)}/${encodeURIComponent(job)}?${query.toString()}`;
  const body = () => {
    sent = createHash('sha256');
    return ReadableStream.from(content()) as ReadableStream;
  };
  const answer = await request(server, patience, { method: 'PUT', path, body }).catch((error: unknown) => {
    if (!(error instanceof ImpGemError) || !OF_THE_PIPELINE.has(error.code)) throw error;
    throw new InputError(error.code, error.message, { cause: error });
  });
  const stored = typeof answer === 'object' && answer !== null && 'sha256' in answer ? answer.sha256 : undefined;
  if (stored === sent.digest('hex')) return;
  throw new ImpGemError('artifact-differs', `The server stored something else than the content of ${file.path}.`);
}
