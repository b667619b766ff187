import type Docker from 'dockerode';
import { engineCall } from './engine.ts';

/**
 * Output of a container as the engine kept it, from its first byte, following until the container ends. The engine keeps
 * whole lines: one that is not finished comes when it is.
 */
export async function* followEngineLog(docker: Docker, containerId: string): AsyncGenerator<Buffer> {
  const stream = await engineCall('follow the output of a container', () =>
    docker.getContainer(containerId).logs({ follow: true, stdout: true, stderr: true }),
  );
  yield* payloadsOf(stream);
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
