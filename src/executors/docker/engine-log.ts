import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { overrun } from '../rest-of-output.ts';
import { engineError, isGone, isUnreachable } from './engine.ts';
import type { ExecutorParts } from './parts.ts';

const ASK_AGAIN_MS = 500;
const NEWLINE = 10;

/**
 * Output of a container from its first byte until `ended` says that it is over. The engine keeps whole lines: one that is
 * not finished comes when it is, or after the end. A stream that breaks is taken up where it broke, once the engine answers
 * again. `first`: a stream that was opened before the container started. `stop`: aborted when no more is wanted; what was
 * not taken yet is left.
 */
export async function* followEngineLog(
  { docker, events }: Pick<ExecutorParts, 'docker' | 'events'>,
  containerId: string,
  ended: AbortSignal,
  first?: NodeJS.ReadableStream,
  stop?: AbortSignal,
): AsyncGenerator<Buffer> {
  const asked = { stdout: true, stderr: true, ...(stop === undefined ? {} : { abortSignal: stop }) };
  const container = docker.getContainer(containerId);
  const open = () => container.logs({ ...asked, follow: true });
  let taken = 0;
  let line = 0; // Bytes taken of a line that is not finished.
  let recent: Buffer = Buffer.alloc(0);
  for (let attached = first; ; attached = undefined) {
    let whole = false;
    try {
      let at = 0;
      for await (const bytes of payloadsOf(attached ?? (await open()))) {
        const fresh = bytes.subarray(Math.max(0, taken - at));
        at += bytes.length;
        if (fresh.length === 0) continue;
        taken += fresh.length;
        line = lengthOfLine(line, fresh);
        recent = Buffer.concat([recent, fresh.subarray(-RECENT)]).subarray(-RECENT);
        yield fresh;
        if (stop?.aborted) return;
      }
      // Of a connection without frames of its own nobody knows whether it was ended or cut.
      whole = attached === undefined;
    } catch (error) {
      if (stop?.aborted) return;
      const known = engineError(error, 'follow the output of a container');
      if (!isGone(error) && !isUnreachable(known)) throw known;
      whole = isGone(error);
    }
    if (whole) await events.look(containerId);
    if (attached === undefined)
      await delay(ASK_AGAIN_MS, undefined, { ref: false, signal: ended }).catch(() => undefined);
    if (stop?.aborted) return;
    if (whole && ended.aborted) break;
  }
  try {
    const tail = taken <= SMALL ? {} : { tail: LAST_PIECES };
    const readEnd = async (): Promise<{ known: Buffer; at: number }> => {
      const known = await wholeOf(Readable.from([await container.logs({ ...asked, ...tail, follow: false })]));
      return { known, at: taken <= SMALL ? taken : known.lastIndexOf(NEWLINE) + 1 + line };
    };
    // Of a last line that is longer than what was read again nobody can say.
    const fits = ({ known, at }: Awaited<ReturnType<typeof readEnd>>): boolean =>
      stop === undefined || (taken > SMALL && at > known.length) || endsAlike(known.subarray(0, at), recent);
    let end = await readEnd();
    if (!fits(end)) {
      // An engine may not have written all yet that it gave away already.
      await delay(ASK_AGAIN_MS, undefined, { ref: false });
      end = await readEnd();
      if (!fits(end)) throw overrun();
    }
    const { known, at } = end;
    const rest = known.subarray(at);
    if (rest.length > 0) yield rest;
  } catch (error) {
    if (!stop?.aborted && !isGone(error)) throw engineError(error, 'read the last output of a container');
  }
}

/** So much output is read again from its beginning when a container has ended; of more, only the last line. */
const SMALL = 1024 * 1024;
/** Bytes of what was taken last that must stand in the log at its end; else the engine began it anew before they were. */
const RECENT = 1024;
/** The engine cuts a long line at 16 KiB. */
const LAST_PIECES = 64;

function endsAlike(a: Buffer, b: Buffer): boolean {
  const length = Math.min(a.length, b.length);
  return a.subarray(a.length - length).equals(b.subarray(b.length - length));
}

function lengthOfLine(before: number, bytes: Buffer): number {
  const newline = bytes.lastIndexOf(NEWLINE);
  return newline < 0 ? before + bytes.length : bytes.length - newline - 1;
}

async function wholeOf(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of payloadsOf(stream)) pieces.push(piece);
  return Buffer.concat(pieces);
}

const HEADER = 8;
const LENGTH_AT = 4;

/**
 * Output out of a stream of the engine, which frames each piece: one byte for the stream, three of nothing, four of length.
 * A piece is often one line; all that came together is given together, for whoever takes it may take its time each time.
 */
export async function* payloadsOf(stream: NodeJS.ReadableStream): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  let missing = 0;
  for await (const part of stream) {
    let data = rest.length > 0 ? Buffer.concat([rest, part as Buffer]) : (part as Buffer);
    const pieces: Buffer[] = [];
    while (data.length > 0) {
      if (missing === 0) {
        if (data.length < HEADER) break;
        missing = data.readUInt32BE(LENGTH_AT);
        data = data.subarray(HEADER);
      }
      const piece = data.subarray(0, missing);
      pieces.push(piece);
      missing -= piece.length;
      data = data.subarray(piece.length);
    }
    rest = data;
    const payload = Buffer.concat(pieces);
    if (payload.length > 0) yield payload;
  }
}
