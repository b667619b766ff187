import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { openPlainFile } from '../../artifacts/open-plain-file.ts';
import { ImpGemError, messageOf } from '../../errors.ts';
import type { ArtifactFile, ArtifactStore } from '../../worker/ports.ts';

/** Artifacts as plain files at `<folder>/<job>/<path>`: made to be looked at. */
export function createLocalArtifacts(folder: string): ArtifactStore & { count(): number } {
  const kept = new Set<string>();
  return {
    add: async (_run, job, files) => {
      for (const file of files) {
        await copyTo(file, join(folder, job, file.path));
        kept.add(`${job}/${file.path}`);
      }
    },
    count: () => kept.size,
  };
}

async function copyTo({ path, source }: ArtifactFile, target: string): Promise<void> {
  const handle = await openPlainFile(source);
  try {
    const { mode } = await handle.stat();
    await mkdir(dirname(target), { recursive: true });
    // Never through a link, and never into a file that an earlier step's artifact is.
    await rm(target, { force: true });
    await pipeline(handle.createReadStream(), createWriteStream(target, { flags: 'wx', mode: mode & 0o777 }));
  } catch (error) {
    throw new ImpGemError('artifact-not-kept', `Artifact ${path} could not be kept: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    // Closed already where the stream came to its end; closing again is harmless.
    await handle.close();
  }
}
