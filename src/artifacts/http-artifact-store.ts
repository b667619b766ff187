import { createHash } from 'node:crypto';
import { ImpGemError } from '../errors.ts';
import { request, type ServerAddress } from '../request.ts';
import type { ArtifactFile, ArtifactStore } from '../worker/ports.ts';
import { mapParallel } from './map-parallel.ts';
import { openPlainFile } from './open-plain-file.ts';

const PARALLEL = 4;
const BLOCK = 512 * 1024;

/**
 * The artifact store of a server that shares no disk with us. Files are read as `openPlainFile` does, and what the
 * server stored is compared with what was sent. Errors: those of the artifact store, `artifact-differs`,
 * `token-refused`, `server-unreachable`.
 */
export function createHttpArtifactStore(server: ServerAddress): ArtifactStore {
  return {
    add: async (run, job, files) => {
      await mapParallel(files, PARALLEL, (file) => send(server, run, job, file));
    },
  };
}

async function send(server: ServerAddress, run: string, job: string, file: ArtifactFile): Promise<void> {
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
  const answer = await request(server, { method: 'PUT', path, body });
  const stored = typeof answer === 'object' && answer !== null && 'sha256' in answer ? answer.sha256 : undefined;
  if (stored === sent.digest('hex')) return;
  throw new ImpGemError('artifact-differs', `The server stored something else than the content of ${file.path}.`);
}
