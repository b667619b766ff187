/** Asks for an engine without loading dockerode: a worker that has none must start quickly and stay small. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { messageOf } from '../../errors.ts';
import { engineError, isUnreachable } from './engine.ts';
import { type EngineEndpoint, resolveEndpoint } from './engine-address.ts';
import type { EngineAddress } from './options.ts';
import { tlsTrouble } from './tls-trouble.ts';

export type EngineProbe =
  | { ok: true; version: string; apiVersion: string; system: string }
  /** `isThere`: something is there, and does not work, or its address or certificates do not. */
  | { ok: false; reason: string; isThere: boolean };

/** An engine that systemd starts when it is asked, or that is busy, takes a while for its first answer. */
const PATIENCE_MS = 5000;

/** Settles within `timeoutMs`, at once when nothing listens. Never throws. */
export async function probeEngine(address: EngineAddress, timeoutMs = PATIENCE_MS): Promise<EngineProbe> {
  try {
    const answer: unknown = JSON.parse(await get(resolveEndpoint(address), '/version', timeoutMs));
    const { Version, ApiVersion, Os, Arch } = answer as Record<string, string | undefined>;
    if (Version === undefined || ApiVersion === undefined)
      return { ok: false, reason: 'what answers is not an engine', isThere: true };
    return { ok: true, version: Version, apiVersion: ApiVersion, system: `${Os ?? '?'}/${Arch ?? '?'}` };
  } catch (error) {
    const isThere = !isUnreachable(engineError(error, 'ask for its version'));
    return { ok: false, reason: tlsTrouble(error) ?? messageOf(error), isThere };
  }
}

const LONGEST_ANSWER = 256 * 1024;

function get(endpoint: EngineEndpoint, path: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const secure = 'protocol' in endpoint && endpoint.protocol === 'https';
    const protocol = secure ? 'https:' : 'http:';
    const signal = AbortSignal.timeout(timeoutMs);
    const request = (secure ? httpsRequest : httpRequest)({ ...endpoint, protocol, path, signal }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
        if (text.length > LONGEST_ANSWER) request.destroy(new Error('the answer is too long for an engine'));
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`it answers ${response.statusCode ?? 0}: ${text.trim().slice(0, 200)}`));
      });
      response.on('error', reject);
    });
    request.on('error', (error) =>
      reject(signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error),
    );
    request.end();
  });
}
