import type { ServerResponse } from 'node:http';

/**
 * Writes one piece and resolves when the next may come: a client that reads slowly holds up this answer only, and costs
 * no more than the piece and the socket's buffer. Resolves at once when the client is gone (`closed` aborts then).
 */
export async function writePiece(res: ServerResponse, piece: Buffer | string, closed: AbortSignal): Promise<void> {
  if (closed.aborted || res.write(piece)) return;
  await new Promise<void>((resolve) => {
    const go = () => {
      res.off('drain', go);
      closed.removeEventListener('abort', go);
      resolve();
    };
    res.on('drain', go);
    closed.addEventListener('abort', go);
  });
}

/** Aborts when the client is gone or the answer is complete, or `also` aborts. */
export function closedSignal(res: ServerResponse, also?: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = () => controller.abort();
  if (also?.aborted) abort();
  also?.addEventListener('abort', abort);
  res.on('close', () => {
    also?.removeEventListener('abort', abort);
    abort();
  });
  return controller.signal;
}
