import type { RequestHandler, Response } from 'express';

const COMMON = {
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/**
 * Pages run our own script files only. Style attributes are let in because 256-colour output needs a colour each; they
 * are written by our renderer from three numbers, everything else of a log is escaped.
 */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "style-src-attr 'unsafe-inline'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** For everything that is not a page of ours: it may do nothing, wherever it is opened. */
const DATA_POLICY = "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Every answer starts as data; `setPageHeaders` lets a page do more. */
export const dataHeaders: RequestHandler = (_req, res, next) => {
  for (const [name, value] of Object.entries(COMMON)) res.setHeader(name, value);
  res.setHeader('Content-Security-Policy', DATA_POLICY);
  next();
};

export function setPageHeaders(res: Response): void {
  res.setHeader('Content-Security-Policy', PAGE_POLICY);
}
