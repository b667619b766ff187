import type { IncomingMessage } from 'node:http';
import { InfrastructureError, InputError } from '../errors.ts';

/** Up to here a body that is too large is read and dropped, so that its sender lives to read the 413. */
const DRAIN_LIMIT = 64 * 1024 * 1024;
const JSON_LIMIT = 64 * 1024;
const BODY_MS = 120_000;
/** Bytes of all bodies that are being read: what a stranger sends is held before its signature can be checked. */
const HELD_LIMIT = 128 * 1024 * 1024;

/** What has come of a body. */
interface Held {
  pieces: Buffer[];
  bytes: number;
  /** It had to make room for others. */
  crowded: boolean;
}

const bodies = new Set<Held>();
let heldByAll = 0;

/**
 * The raw body. InputError `body-too-large` (413), `content-type-unsupported` (415) unless the media type is `type`,
 * in this order; InfrastructureError `bodies-crowded` (503) when it was the largest while there was no room for all.
 */
export async function readBody(req: IncomingMessage, limit: number, type: string): Promise<Buffer> {
  const announced = Number(req.headers['content-length'] ?? 0);
  if (announced > DRAIN_LIMIT) throw tooLarge(limit);
  const body: Held = { pieces: [], bytes: 0, crowded: false };
  let length = 0;
  // Whoever sends drop by drop holds memory of ours: an honest sender is done long before.
  const cut = setTimeout(() => req.destroy(), BODY_MS);
  bodies.add(body);
  try {
    for await (const piece of req as AsyncIterable<Buffer>) {
      length += piece.length;
      if (length > DRAIN_LIMIT) break;
      if (length > limit || announced > limit) drop(body);
      else if (!body.crowded) hold(body, piece);
    }
  } catch (error) {
    throw new InputError('body-incomplete', 'The body ended too early.', { cause: error });
  } finally {
    clearTimeout(cut);
    bodies.delete(body);
    heldByAll -= body.bytes;
  }
  if (length > limit) throw tooLarge(limit);
  if (body.crowded)
    throw new InfrastructureError('bodies-crowded', 'Too many large bodies come at once; send this one again later.', {
      retryable: true,
    });
  if (mediaType(req) !== type || (req.headers['content-encoding'] ?? 'identity') !== 'identity')
    throw new InputError('content-type-unsupported', `Send the body as ${type}, not compressed.`, { status: 415 });
  return body.pieces.length === 1 ? (body.pieces[0] as Buffer) : Buffer.concat(body.pieces);
}

/** Keeps one more piece. The largest bodies make room: strangers who send large ones keep no small delivery out. */
function hold(body: Held, piece: Buffer): void {
  body.pieces.push(piece);
  body.bytes += piece.length;
  heldByAll += piece.length;
  while (heldByAll > HELD_LIMIT) {
    let largest = body;
    for (const other of bodies) if (other.bytes > largest.bytes) largest = other;
    largest.crowded = true;
    drop(largest);
  }
}

function drop(body: Held): void {
  heldByAll -= body.bytes;
  body.bytes = 0;
  body.pieces = [];
}

/** The body as a JSON object; an absent body is `{}`. InputError 400, 413, 415. */
export async function readJson(req: IncomingMessage): Promise<Record<string, unknown>> {
  if (Number(req.headers['content-length'] ?? 0) === 0 && req.headers['transfer-encoding'] === undefined) return {};
  const body = await readBody(req, JSON_LIMIT, 'application/json');
  if (body.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw new InputError('json-invalid', 'The body is not valid JSON in UTF-8.', { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InputError('json-invalid', 'The body must be a JSON object.');
  return value as Record<string, unknown>;
}

/** The names an object may have; anything else is a slip that should not pass in silence. */
export function allowOnly(body: Record<string, unknown>, names: string[]): void {
  const unknown = Object.keys(body).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const known = names.length === 0 ? 'no fields' : names.join(', ');
  const said = JSON.stringify(unknown.slice(0, 100));
  throw new InputError('field-unknown', `The body has the unknown field ${said}; it may have ${known}.`);
}

/** A text field that must be there, 1 to `max` characters without control characters. */
export function requireText(body: Record<string, unknown>, name: string, max: number): string {
  const value = body[name];
  if (typeof value !== 'string' || value === '' || value.length > max || /\p{Cc}/u.test(value))
    throw new InputError('field-invalid', `${name} must be text of 1 to ${max} printable characters.`, { status: 422 });
  return value;
}

/** The media type of the body, without its parameters. */
export function mediaType(req: IncomingMessage): string {
  return (req.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function tooLarge(limit: number): InputError {
  const shown = limit >= 1024 * 1024 ? `${limit / 1024 / 1024} MB` : `${limit / 1024} KB`;
  return new InputError('body-too-large', `The body is larger than ${shown}.`, { status: 413 });
}
