import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestHandler } from 'express';
import { InputError } from '../errors.ts';

/**
 * Lets a request through that carries one of the tokens as `Authorization: Bearer`. 401 without one or with a wrong one;
 * 403 `token-not-configured` when there is none that could fit. `setting` is named in that sentence.
 */
export function requireToken(tokens: (string | undefined)[], setting: string): RequestHandler {
  const accepted = tokens.filter((token) => token !== undefined).map(digest);
  return (req, _res, next) => {
    if (accepted.length === 0)
      throw new InputError('token-not-configured', `This needs a token and none is configured; set ${setting}.`, {
        status: 403,
      });
    const given = /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
    if (given === undefined)
      throw new InputError('token-missing', 'Send the token as "Authorization: Bearer TOKEN".', { status: 401 });
    const hash = digest(given);
    // Digests have one length and say nothing of the token, so the comparison takes the same time for every guess.
    if (!accepted.map((token) => timingSafeEqual(token, hash)).includes(true))
      throw new InputError('token-invalid', 'This token is not valid.', { status: 401 });
    next();
  };
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
