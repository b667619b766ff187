import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { join } from 'node:path';
import { pack as createPack } from 'tar-stream';
import { ImpGemError, InputError } from '../errors.ts';
import type { ArtifactFile, ArtifactStore } from '../worker/ports.ts';
import { createBlobStore, type Blob, type BlobStore } from './blob-store.ts';
import { createManifests, type ArtifactEntry, type Manifests } from './manifest.ts';
import { mapParallel } from './map-parallel.ts';
import { openPlainFile } from './open-plain-file.ts';
import { checkPath } from './safe-path.ts';

const JOB = /^[A-Za-z0-9_-]{1,128}$/;
const BLOCK = 512 * 1024;
/** Files copied at the same time. */
const PARALLEL = 4;

/** Bytes of an artifact, ends included; a negative `start` counts from the end. Without `end`: all from `start` on. */
export interface ByteRange {
  start: number;
  end?: number;
}

export interface OpenArtifact {
  stream: Readable;
  /** Of the whole artifact. */
  size: number;
  /** First and last byte that the stream gives; `end` is -1 for an empty artifact. */
  start: number;
  end: number;
  sha256: string;
}

export interface ArtifactReader {
  /** What the run has, by job and path, without what has expired. */
  manifest(run: string): Promise<ArtifactEntry[]>;
  /** InputError `artifact-unknown` (404), `artifact-expired` (410), `range-invalid` (416), `path-invalid` (400). */
  open(run: string, job: string, path: string, range?: ByteRange): Promise<OpenArtifact>;
  /** All of it as `.tar.gz`, made while it is read; names are `<job>/<path>`. */
  archive(run: string): Readable;
}

export interface ArtifactUploads {
  /** Takes one file from a worker that has no disk in common with us. `sha256`: refused unless it is this content. */
  put(run: string, job: string, file: ArtifactUpload, content: AsyncIterable<Buffer>): Promise<ArtifactEntry>;
}
export type ArtifactUpload = Omit<ArtifactFile, 'source'> & { sha256?: string };

export interface ArtifactKeeper {
  /** Lists the artifacts of these jobs of one run under another as well (a re-run that keeps jobs); contents are shared. */
  inherit(from: string, to: string, jobs: readonly string[]): Promise<void>;
  /** Every run that has artifacts, expired ones included. */
  runs(): Promise<string[]>;
  /** Forgets a run's artifacts; a later sweep frees the space. */
  remove(run: string): Promise<void>;
  /** Removes contents that no manifest names any more or that have expired; gives the bytes freed. */
  sweep(now?: number): Promise<number>;
}

/** `bytes`: the largest single artifact. */
export interface ArtifactLimits {
  bytes: number;
}

/** Artifacts below `folder`: `blobs/` by content, `runs/` with a manifest each. */
export function createArtifactStore(
  folder: string,
  limits: ArtifactLimits = { bytes: 10 * 1024 ** 3 },
): ArtifactStore & ArtifactReader & ArtifactUploads & ArtifactKeeper {
  const blobs = createBlobStore(join(folder, 'blobs'));
  const manifests = createManifests(join(folder, 'runs'));

  const manifest: ArtifactReader['manifest'] = async (run) => {
    const now = Date.now();
    return (await manifests.read(run)).filter((entry) => !isExpired(entry, now));
  };

  return {
    add: async (run, job, files) => {
      for (const file of files) checkUpload(job, file);
      const entries = await mapParallel(files, PARALLEL, async (file) => {
        const handle = await openPlainFile(file.source);
        // The stream closes the handle at its end, also when copying fails.
        const blob = await blobs.add(handle.createReadStream({ highWaterMark: BLOCK }), limits.bytes);
        return createEntry(job, file, blob);
      });
      await manifests.add(run, entries);
    },
    put: async (run, job, file, content) => {
      checkUpload(job, file);
      const blob = await blobs.add(content, limits.bytes);
      if (file.sha256 !== undefined && file.sha256 !== blob.sha256) {
        throw new InputError('artifact-differs', 'The content is not what its sha256 says.');
      }
      const entry = createEntry(job, file, blob);
      await manifests.add(run, [entry]);
      return entry;
    },
    manifest,
    open: (run, job, path, range) => openArtifact(manifests, blobs, { run, job, path }, range),
    archive: (run) => archive(() => manifest(run), blobs),
    inherit: async (from, to, jobs) => {
      await manifests.add(
        to,
        // With those that have expired: what was there is told apart from what never was.
        (await manifests.read(from)).filter((entry) => jobs.includes(entry.job)),
      );
    },
    runs: () => manifests.runs(),
    remove: (run) => manifests.remove(run),
    sweep: (now = Date.now()) => sweep(manifests, blobs, now),
  };
}

function checkUpload(job: string, file: ArtifactUpload): void {
  if (!JOB.test(job)) throw new InputError('job-invalid', `${JSON.stringify(job.slice(0, 60))} is no id of a job.`);
  checkPath(file.path);
  if (file.expiresAt !== undefined && Number.isNaN(Date.parse(file.expiresAt))) {
    throw new InputError('time-invalid', 'expiresAt is no ISO 8601 time.');
  }
  if ((file.name?.length ?? 0) > 255) throw new InputError('name-invalid', 'The name is longer than 255 characters.');
}

function createEntry(job: string, { path, name, expiresAt }: ArtifactUpload, blob: Blob): ArtifactEntry {
  const { size, sha256 } = blob;
  const optional = { ...(name === undefined ? {} : { name }), ...(expiresAt === undefined ? {} : { expiresAt }) };
  return { job, path, size, sha256, createdAt: new Date().toISOString(), ...optional };
}

function isExpired({ expiresAt }: ArtifactEntry, now: number): boolean {
  return expiresAt !== undefined && Date.parse(expiresAt) <= now;
}

async function openArtifact(
  manifests: Manifests,
  blobs: BlobStore,
  { run, job, path }: { run: string; job: string; path: string },
  range?: ByteRange,
): Promise<OpenArtifact> {
  checkPath(path);
  const entry = (await manifests.read(run)).find((one) => one.job === job && one.path === path);
  if (!entry) throw new InputError('artifact-unknown', 'There is no such artifact.', { status: 404 });
  if (isExpired(entry, Date.now())) {
    throw new InputError('artifact-expired', `The artifact expired at ${entry.expiresAt}.`, { status: 410 });
  }
  const { size, sha256 } = entry;
  const { start, end } = resolveRange(range, size);
  const handle = await blobs.open(sha256);
  if (!handle) throw new ImpGemError('artifact-lost', 'The content of the artifact is missing from the store.');
  if (end >= start)
    return { stream: handle.createReadStream({ start, end, highWaterMark: BLOCK }), size, start, end, sha256 };
  await handle.close();
  return { stream: Readable.from([]), size, start, end, sha256 };
}

function resolveRange(range: ByteRange | undefined, size: number): { start: number; end: number } {
  if (!range) return { start: 0, end: size - 1 };
  const start = range.start < 0 ? Math.max(0, size + range.start) : range.start;
  const end = Math.min(range.end ?? size - 1, size - 1);
  if (Number.isInteger(start) && Number.isInteger(end) && start <= end) return { start, end };
  throw new InputError('range-invalid', `The artifact has ${size} bytes; the range asks for others.`, { status: 416 });
}

function archive(list: () => Promise<ArtifactEntry[]>, blobs: BlobStore): Readable {
  const pack = createPack();
  // Level 1: most artifacts are archives already, and a download should not wait for the processor.
  const gzip = createGzip({ level: 1 });
  const fill = async () => {
    for (const entry of await list()) {
      const handle = await blobs.open(entry.sha256);
      if (!handle) throw new ImpGemError('artifact-lost', `The content of ${entry.path} is missing from the store.`);
      const header = { name: `${entry.job}/${entry.path}`, size: entry.size, mtime: new Date(entry.createdAt) };
      await pipeline(handle.createReadStream({ highWaterMark: BLOCK }), pack.entry(header));
    }
    pack.finalize();
  };
  // A failure of either side reaches the reader through the stream it holds; a reader that leaves ends both.
  const stop = (error: unknown) => gzip.destroy(error instanceof Error ? error : new Error(String(error)));
  pipeline(pack, gzip).catch(stop);
  fill().catch((error: unknown) => {
    pack.destroy();
    stop(error);
  });
  return gzip;
}

async function sweep(manifests: Manifests, blobs: BlobStore, now: number): Promise<number> {
  const keep = new Set<string>();
  for (const run of await manifests.runs()) {
    for (const entry of await manifests.read(run)) if (!isExpired(entry, now)) keep.add(entry.sha256);
  }
  return (await blobs.sweep(keep, now)).reduce((sum, blob) => sum + blob.size, 0);
}
