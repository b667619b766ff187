/** Errors become HTTP here and nowhere else: problem details (RFC 9457), never a stack, never a library's words. */
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import { STATUS_CODES } from 'node:http';
import type { Logger } from 'pino';
import { ImpGemError, InfrastructureError, InputError, messageOf } from '../errors.ts';
import { isRedisAway, isRedisFull } from '../queue/connection.ts';

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  instance: string;
}

export function sendProblem(req: Request, res: Response, status: number, code: string, detail: string): void {
  const problem: Problem = {
    type: `urn:impgem:error:${code}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    code,
    instance: req.originalUrl,
  };
  // Of the answer that was meant to be.
  for (const name of ['ETag', 'Accept-Ranges', 'Content-Disposition']) res.removeHeader(name);
  res.status(status);
  res.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
  res.setHeader('Cache-Control', 'no-store');
  res.end(JSON.stringify(problem));
}

/** A path we do not know. */
export const notFound: RequestHandler = (req) => {
  throw new InputError('not-found', `There is nothing at ${req.path}.`, { status: 404 });
};

interface Failure {
  status: number;
  code: string;
  detail: string;
}

/** A writer of a log that is out of step: its own state is wrong, not its request. */
const CONFLICTS = new Set(['log-gap', 'log-closed', 'log-differs', 'job-lost']);

/** What to say about an error; `internal` errors say nothing of what happened, the log does. */
function explainError(error: unknown): Failure {
  if (error instanceof InputError) return { status: error.status, code: error.code, detail: error.message };
  if (error instanceof InfrastructureError) return { status: 503, code: error.code, detail: error.message };
  if (error instanceof ImpGemError)
    return { status: CONFLICTS.has(error.code) ? 409 : 500, code: error.code, detail: error.message };
  if (isRedisAway(error)) return { status: 503, code: 'redis-away', detail: 'Redis does not answer; try again soon.' };
  if (isRedisFull(error))
    return { status: 503, code: 'redis-full', detail: 'Redis takes no writes: its memory or its disk is full.' };
  // express itself: a path that is not valid percent-encoding
  if (error instanceof URIError)
    return { status: 400, code: 'path-invalid', detail: 'The address is not valid UTF-8.' };
  return { status: 500, code: 'internal', detail: 'Something went wrong here; the log of the server says what.' };
}

export function errorHandler(
  log: Logger,
  present: (req: Request, res: Response, failure: Failure) => void,
): ErrorRequestHandler {
  return (error: unknown, req, res, next) => {
    if (res.headersSent) {
      // Half an answer is out already: cutting the connection is the only way left to say that it is not whole.
      log.warn({ err: error, url: req.originalUrl }, 'answer broken off');
      res.destroy();
      return;
    }
    const failure = explainError(error);
    const request = { url: req.originalUrl, method: req.method };
    if (failure.status === 503) {
      // Expected while what we need is away: a line, not a stack for every request.
      log.warn({ ...request, code: failure.code, cause: causeOf(error) }, failure.detail);
      res.setHeader('Retry-After', '5');
    } else if (failure.status >= 500) log.error({ ...request, err: error }, failure.detail);
    if (failure.status === 401) res.setHeader('WWW-Authenticate', 'Bearer realm="impgem"');
    try {
      present(req, res, failure);
    } catch (problem) {
      next(problem);
    }
  };
}

function causeOf(error: unknown): string {
  return messageOf(error instanceof ImpGemError ? (error.cause ?? error) : error);
}
