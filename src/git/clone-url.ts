import { isAbsolute } from 'node:path';
import { ImpGemError } from '../errors.ts';

const HOST = /^(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])$/;
const USER = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
const PATH = /^(?:\/[A-Za-z0-9_.~%+@,=-]+)+$/;

/**
 * Throws ImpGemError `clone-url-refused` unless `url` is http(s), ssh or (where allowed) an absolute `file` address made
 * of known good characters only: no option, no `ext::`, no credentials, no CR or LF, no `..`.
 */
export function checkCloneUrl(url: string, allowFile: boolean): void {
  const problem = whatIsWrong(url, allowFile);
  if (problem) throw new ImpGemError('clone-url-refused', `The clone address ${JSON.stringify(url)} ${problem}`);
}

function whatIsWrong(url: string, allowFile: boolean): string | undefined {
  if (url.length > 2048 || !URL.canParse(url)) return 'is not an address';
  const parsed = new URL(url);
  const { protocol, pathname } = parsed;
  // What the parser would silently repair (backslashes, tabs, dot segments) is refused, not repaired.
  if (parsed.href !== url) return 'is not in its plain form';
  if (parsed.search || parsed.hash) return 'has a query or a fragment';
  if (!PATH.test(pathname) || /%2e|%2f|%5c|%0|%1/i.test(pathname))
    return 'has a path with characters that are not allowed';
  if (protocol === 'file:') {
    if (!allowFile) return 'is a file address: these need IMPGEM_ALLOW_FILE';
    return parsed.host === '' && isAbsolute(pathname) ? undefined : 'is not an absolute file address';
  }
  if (!['http:', 'https:', 'ssh:'].includes(protocol)) return 'must begin with http://, https:// or ssh://';
  if (!HOST.test(parsed.hostname)) return 'has a host name that is not allowed';
  if (parsed.password) return 'holds a password';
  if (parsed.username && (protocol !== 'ssh:' || !USER.test(parsed.username)))
    return 'has a user name that is not allowed';
  return undefined;
}
