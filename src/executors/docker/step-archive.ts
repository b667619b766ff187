/** A step's own folders as tar archives, for an engine that does not share our disk. */
import type Docker from 'dockerode';
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import { HANDOVER_LIMIT, STEP_PATHS, type Handover } from '../executor.ts';
import { decodeHandover, HANDOVER_FILES } from '../shell.ts';
import { engineCall, isGone } from './engine.ts';
import { CONTROL } from './entry.ts';

/** The folders as a step finds them, to be put at `/` of a container that was not started yet. */
export async function packStepFolders(): Promise<Buffer> {
  const archive = pack();
  const relative = (path: string): string => path.slice(1);
  for (const folder of [CONTROL, STEP_PATHS.step])
    archive.entry({ name: relative(folder), type: 'directory', mode: 0o777 });
  for (const file of HANDOVER_FILES) archive.entry({ name: `${relative(STEP_PATHS.step)}/${file}`, mode: 0o666 }, '');
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** What a step handed on, out of its container; only regular files count, HANDOVER_LIMIT bytes of each. */
export async function fetchHandover(docker: Docker, containerId: string): Promise<Handover> {
  const handover: Handover = { env: '', output: '', path: '', summary: '' };
  for (const name of HANDOVER_FILES)
    handover[name] = await fetchFile(docker, containerId, `${STEP_PATHS.step}/${name}`);
  return handover;
}

/** A regular file out of a container, cut at HANDOVER_LIMIT, decoded as a Handover; empty when there is none. */
export async function fetchFile(docker: Docker, containerId: string, path: string): Promise<string> {
  const container = docker.getContainer(containerId);
  const archive = await engineCall('read what a step handed on', async () => {
    try {
      return await container.getArchive({ path });
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  });
  return archive ? firstFile(Readable.from(archive)) : '';
}

/** Content of the first entry, if it is a file; the rest of the archive is not waited for. */
function firstFile(archive: Readable): Promise<string> {
  return new Promise((resolve, reject) => {
    const entries = extract();
    const chunks: Buffer[] = [];
    let length = 0;
    const finish = (): void => {
      archive.unpipe(entries);
      archive.destroy(); // Not read to its end: a step may have made its file as long as it likes.
      resolve(decodeHandover(Buffer.concat(chunks).subarray(0, HANDOVER_LIMIT)));
    };
    entries.once('entry', (header, content) => {
      if (header.type !== 'file') {
        finish();
        return;
      }
      content.on('data', (data: unknown) => {
        const chunk = data as Buffer;
        if (length < HANDOVER_LIMIT) chunks.push(chunk);
        length += chunk.length;
        if (length >= HANDOVER_LIMIT) finish();
      });
      content.once('end', finish);
    });
    entries.once('error', reject).once('finish', finish);
    archive.once('error', reject);
    archive.pipe(entries);
  });
}
