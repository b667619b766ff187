import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { RequestHandler } from 'express';
import { InputError } from '../errors.ts';

const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::\d{1,5})?$/;

/**
 * Who listens on loopback relies on it that only this machine connects. Yet any page that is read on this machine can give
 * its own name the address 127.0.0.1 (DNS rebinding), and then read our answers as its own; its requests still carry that
 * name. So what comes over loopback must ask for a name that nobody else can own, or for the public one.
 * InputError `host-unknown` (421).
 */
export function requireKnownHost(publicUrl: () => string): RequestHandler {
  const own = hostname().toLowerCase();
  return (req, _res, next) => {
    const asked = req.headers.host;
    // Every browser sends one.
    if (asked !== undefined && isLoopback(req.socket.localAddress ?? '')) {
      const name = HOST.test(asked) ? nameOf(`http://${asked}`) : undefined;
      const isOurs =
        name !== undefined &&
        // A name without a dot, or below `localhost`, is in no DNS of a stranger.
        (!name.includes('.') || name.endsWith('.localhost') || isIP(name) > 0 || name === own);
      if (!isOurs && (name === undefined || name !== nameOf(publicUrl())))
        throw new InputError(
          'host-unknown',
          `This server does not go by the name ${JSON.stringify(asked.slice(0, 100))}; if it is the right one, set IMPGEM_PUBLIC_URL to the address that people use.`,
          { status: 421 },
        );
    }
    next();
  };
}

function nameOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1') : undefined;
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}
