import type { Response } from 'express';
import { writePiece } from '../write.ts';
import type { FollowEvent } from './follow-run.ts';

/** Sends events as `text/event-stream`, no faster than the client takes them, until they end or the client is gone. */
export async function sendEvents(
  res: Response,
  events: AsyncIterable<FollowEvent> | FollowEvent[],
  closed: AbortSignal,
): Promise<void> {
  res.setHeader('Content-Type', 'text/event-stream; charset=utf-8');
  res.setHeader('Cache-Control', 'no-cache, no-transform');
  // nginx would hold events back
  res.setHeader('X-Accel-Buffering', 'no');
  for await (const event of events) {
    if (closed.aborted) break;
    await writePiece(res, encodeEvent(event), closed);
  }
  res.end();
}

function encodeEvent(event: FollowEvent): string {
  if (event.event === 'ping') return ': ping\n\n';
  const id = event.event === 'log' ? `id: ${event.id}\n` : '';
  return `event: ${event.event}\n${id}data: ${JSON.stringify(event.data)}\n\n`;
}
