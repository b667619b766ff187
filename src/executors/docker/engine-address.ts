import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import type { EngineAddress } from './options.ts';

/** Where an engine listens, in the form that node:http(s) and dockerode take alike. */
export type EngineEndpoint =
  | { socketPath: string }
  | { protocol: 'http'; host: string; port: number }
  | { protocol: 'https'; host: string; port: number; ca: Buffer; cert: Buffer; key: Buffer };

const DEFAULT_HOST = 'unix:///var/run/docker.sock';

/** Throws InfrastructureError `engine-address` when the address or the certificates cannot be used. */
export function resolveEndpoint(address: EngineAddress): EngineEndpoint {
  const host = address.host ?? DEFAULT_HOST;
  if (host.startsWith('unix://')) return { socketPath: host.slice('unix://'.length) };
  if (!URL.canParse(host)) throw badAddress(`DOCKER_HOST is not an address: ${host}`);
  const url = new URL(host);
  const secure = url.protocol === 'https:' || (url.protocol === 'tcp:' && address.tlsVerify === true);
  if (!secure && url.protocol !== 'tcp:' && url.protocol !== 'http:')
    throw badAddress(`DOCKER_HOST must begin with unix://, tcp://, http:// or https://, not ${url.protocol}//`);
  // An IPv6 address stands in brackets in a URL, and nowhere else.
  const where = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(url.port || (secure ? 2376 : 2375)) };
  if (!secure) return { protocol: 'http', ...where };
  const folder = address.certPath;
  if (folder === undefined) throw badAddress('DOCKER_CERT_PATH must name the folder of ca.pem, cert.pem and key.pem');
  const read = (name: string): Buffer => {
    try {
      return readFileSync(join(folder, name));
    } catch (error) {
      throw badAddress(`${join(folder, name)} cannot be read; DOCKER_CERT_PATH must hold it`, error);
    }
  };
  return { protocol: 'https', ...where, ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') };
}

function badAddress(message: string, cause?: unknown): InfrastructureError {
  return new InfrastructureError('engine-address', message, { cause });
}
