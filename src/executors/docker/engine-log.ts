import { setTimeout as delay } from 'node:timers/promises';
import { engineError, isGone, isUnreachable } from './engine.ts';
import type { ExecutorParts } from './parts.ts';

const ASK_AGAIN_MS = 500;

/**
 * Output of a container from its first byte until `ended` says that it is over. The engine keeps whole lines: one that is
 * not finished comes when it is. A stream that breaks is taken up where it broke, once the engine answers again. `first`:
 * a stream that was opened before the container started.
 */
export async function* followEngineLog(
  { docker, events }: Pick<ExecutorParts, 'docker' | 'events'>,
  containerId: string,
  ended: AbortSignal,
  first?: NodeJS.ReadableStream,
): AsyncGenerator<Buffer> {
  const open = () => docker.getContainer(containerId).logs({ follow: true, stdout: true, stderr: true });
  let taken = 0;
  for (let attached = first; ; attached = undefined) {
    let whole = false;
    try {
      let at = 0;
      for await (const bytes of payloadsOf(attached ?? (await open()))) {
        const fresh = bytes.subarray(Math.max(0, taken - at));
        at += bytes.length;
        if (fresh.length === 0) continue;
        taken += fresh.length;
        yield fresh;
      }
      // Of a connection without frames of its own nobody knows whether it was ended or cut.
      whole = attached === undefined;
    } catch (error) {
      const known = engineError(error, 'follow the output of a container');
      if (!isGone(error) && !isUnreachable(known)) throw known;
      whole = isGone(error);
    }
    if (whole) await events.look(containerId);
    if (attached === undefined)
      await delay(ASK_AGAIN_MS, undefined, { ref: false, signal: ended }).catch(() => undefined);
    if (whole && ended.aborted) return;
  }
}

const HEADER = 8;
const LENGTH_AT = 4;

/** Output out of a stream of the engine, which frames each piece: one byte for the stream, three of nothing, four of length. */
export async function* payloadsOf(stream: NodeJS.ReadableStream): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  let missing = 0;
  for await (const part of stream) {
    let data = rest.length > 0 ? Buffer.concat([rest, part as Buffer]) : (part as Buffer);
    while (data.length > 0) {
      if (missing === 0) {
        if (data.length < HEADER) break;
        missing = data.readUInt32BE(LENGTH_AT);
        data = data.subarray(HEADER);
      }
      const piece = data.subarray(0, missing);
      if (piece.length > 0) yield piece;
      missing -= piece.length;
      data = data.subarray(piece.length);
    }
    rest = data;
  }
}
