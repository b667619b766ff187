import { isUtf8 } from 'node:buffer';
import { Webhooks } from '@octokit/webhooks';
import { InputError } from '../errors.ts';

/**
 * Makes the check of an HMAC-SHA256 (64 hex digits) over the raw body, in constant time. Both forges sign alike, so
 * that Octokit's check serves both. Throws InputError `signature-missing`, `signature-invalid` (401), `body-not-utf8`.
 */
export function createVerifier(secret: string | undefined) {
  const webhooks = secret ? new Webhooks({ secret }) : undefined;
  return async function verify(signature: string | undefined, body: Buffer): Promise<void> {
    if (signature === undefined || signature === '')
      throw new InputError(
        'signature-missing',
        'The delivery has no HMAC-SHA256 signature: set a secret at the forge',
        {
          status: 401,
        },
      );
    if (!webhooks)
      throw new InputError('signature-invalid', 'No webhook secret is set here: IMPGEM_WEBHOOK_SECRET', {
        status: 401,
      });
    // JSON is UTF-8, and the signature is over bytes that text can stand for.
    if (!isUtf8(body)) throw new InputError('body-not-utf8', 'The body is not UTF-8');
    const isRight =
      /^[0-9a-f]{64}$/.test(signature) &&
      body.length > 0 &&
      (await webhooks.verify(body.toString('utf8'), `sha256=${signature}`));
    if (!isRight)
      throw new InputError(
        'signature-invalid',
        'The signature does not fit the body: is the secret the same here and there?',
        {
          status: 401,
        },
      );
  };
}
