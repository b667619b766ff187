import type { RequestHandler } from 'express';

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

function headers(policy: string): RequestHandler {
  const all = Object.entries({ ...COMMON, 'Content-Security-Policy': policy });
  return (_req, res, next) => {
    for (const [name, value] of all) res.setHeader(name, value);
    next();
  };
}

export const dataHeaders = headers(DATA_POLICY);
export const pageHeaders = headers(PAGE_POLICY);
