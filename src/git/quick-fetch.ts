/**
 * Fetches one commit into a mirror that has something of the repository already, by one request: docs/decisions/0013.
 * What `git fetch` does in two requests and six processes is done here in one and two: a first log line waits for it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import type { Agent, IncomingMessage, request as Request } from 'node:http';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { CloneSource } from '../forges/forge.ts';
import { isObjectId } from '../forges/ref-name.ts';
import { isUnfinished, tooLargeError } from './bounded-fetch.ts';
import { basicAuthorization, gitEnvironment } from './git-environment.ts';
import { mirrorRef, writeWhole } from './mirror.ts';
import { fetchRequest, packOf } from './packets.ts';
import { cancelled, type GitCall, runGit, timedOut } from './run-git.ts';

/** Commits that the remote is told we have: the newest say it all but for histories that have long gone apart. */
const HAVES = 16;
/** Past these the newest are not looked for: git itself negotiates better. */
const MANY_REFS = 2000;
const PACK_FILES = ['.idx', '.rev', '.pack'];
const PROXIES = ['http_proxy', 'https_proxy', 'HTTPS_PROXY', 'ALL_PROXY', 'all_proxy'];
/**
 * A connection that is kept saves the round trips of its opening; it holds no process alive. Not for long: what lies
 * between may forget it without a word.
 */
const KEPT = { keepAlive: true, timeout: 300_000 };
const ways = new Map<string, { agent: Agent; request: typeof Request }>();

/**
 * True: the mirror has the commit, and `ref` names it. False: this is not the way (another protocol, a proxy, a new mirror,
 * an old or odd server, a refusal, a broken answer); nothing is changed, and `git fetch` does it or says what is wrong.
 * The caller holds the mirror's lock. Errors: `git-timeout`, `git-cancelled`, `fetch-too-large`.
 */
export async function quickFetch(
  call: Omit<GitCall, 'args'>,
  ref: string,
  sha: string,
  maxBytes: number,
): Promise<boolean> {
  const { source, gitDir } = call;
  if (source === undefined || !/^https?:/.test(source.url) || PROXIES.some((name) => process.env[name])) return false;
  const timeout = AbortSignal.timeout(call.timeoutMs);
  const signal = AbortSignal.any([timeout, ...(call.signal ? [call.signal] : [])]);
  const packs = join(gitDir, 'objects/pack');
  const before = new Set(listFolder(packs));
  try {
    const haves = newestTips(gitDir, mirrorRef(ref));
    if (haves.length === 0) return false;
    const pack = await takePack(call, await ask(source, fetchRequest(sha, haves), signal), maxBytes, signal);
    try {
      await checkConnected({ ...call, signal }, sha);
      await writeWhole(join(gitDir, mirrorRef(ref)), `${sha}\n`);
    } catch (error) {
      // A commit without all that it reaches would be taken for one that is here.
      for (const end of PACK_FILES)
        if (!before.has(`${pack}${end}`)) rmSync(join(packs, `${pack}${end}`), { force: true });
      throw error;
    }
    return true;
  } catch (error) {
    for (const name of listFolder(packs))
      if (isUnfinished(name) && !before.has(name)) rmSync(join(packs, name), { force: true });
    if (call.signal?.aborted) throw cancelled();
    if (timeout.aborted) throw timedOut(call, 'fetch');
    if (error instanceof TooLarge) throw tooLargeError(maxBytes, error);
    return false;
  }
}

/** What the mirror's refs name, the wanted one's first, then the newest. */
function newestTips(mirror: string, wanted: string): string[] {
  const folder = join(mirror, 'refs/impgem');
  const own = join(mirror, wanted);
  const files = listFolder(folder)
    .filter((name) => isObjectId(name))
    .map((name) => join(folder, name));
  const others = files.length > MANY_REFS ? [] : files.filter((file) => file !== own);
  const newest = others.map((file) => ({ file, at: statSync(file).mtimeMs })).sort((a, b) => b.at - a.at);
  const tips = [...(files.includes(own) ? [own] : []), ...newest.map(({ file }) => file)]
    .slice(0, HAVES)
    .map((file) => readFileSync(file, 'latin1').trim());
  return [...new Set(tips)].filter(isObjectId);
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // Nothing was fetched yet.
  }
}

/** Loaded when needed: a process that fetches nothing does without a few MB. */
async function wayOf(url: string): Promise<{ agent: Agent; request: typeof Request }> {
  const name = url.startsWith('https:') ? 'https' : 'http';
  const known = ways.get(name);
  if (known) return known;
  const { Agent, request } = name === 'https' ? await import('node:https') : await import('node:http');
  const way = { agent: new Agent(KEPT), request };
  ways.set(name, way);
  return way;
}

async function ask(source: CloneSource, body: string, signal: AbortSignal): Promise<IncomingMessage> {
  const { agent, request } = await wayOf(source.url);
  const authorization = basicAuthorization(source);
  const sent = request(`${source.url}/git-upload-pack`, {
    method: 'POST',
    agent,
    signal,
    headers: {
      'content-type': 'application/x-git-upload-pack-request',
      'content-length': Buffer.byteLength(body),
      accept: 'application/x-git-upload-pack-result',
      'git-protocol': 'version=2',
      // Some forges tell git from a browser by this.
      'user-agent': 'git/impgem',
      ...(authorization === '' ? {} : { authorization }),
    },
  });
  // An error while nobody waits for the answer's head (bytes after the answer, a limit of time) ends no process.
  sent.on('error', () => undefined);
  sent.end(body);
  const [response] = (await once(sent, 'response', { signal })) as [IncomingMessage];
  if (response.statusCode === 200 && response.headers['content-type'] === 'application/x-git-upload-pack-result')
    return response;
  response.destroy();
  throw new Error(`The remote answered ${response.statusCode}`);
}

class TooLarge extends Error {}

/** Puts the pack into the mirror, whole or not at all; gives its name there, without an ending. */
async function takePack(
  call: Omit<GitCall, 'args'>,
  response: IncomingMessage,
  maxBytes: number,
  signal: AbortSignal,
): Promise<string> {
  const args = ['index-pack', '--stdin', '--fix-thin', `--max-input-size=${maxBytes}`];
  const { allowFile, timeoutMs } = call;
  const child = spawn('git', args, {
    env: { ...gitEnvironment({ allowFile, timeoutMs }), GIT_DIR: call.gitDir },
    stdio: 'pipe',
    signal,
    killSignal: 'SIGKILL',
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  closed.catch(() => undefined);
  const [gave, said] = [collect(child.stdout), collect(child.stderr)];
  try {
    await pipeline(packOf(response), child.stdin, { signal });
    const [code] = await closed;
    const [, id] = /^pack\t([0-9a-f]+)$/m.exec(gave()) ?? [];
    if (code === 0 && id !== undefined) return `pack-${id}`;
    throw new Error(said().trim());
  } catch (error) {
    child.kill('SIGKILL');
    await closed.catch(() => undefined);
    throw /maximum allowed size/.test(said()) ? new TooLarge(said().trim(), { cause: error }) : error;
  } finally {
    // Its connection, unless it was read to its end.
    response.destroy();
  }
}

/** The first KiB of what comes. */
function collect(stream: Readable): () => string {
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    if (text.length < 1024) text += chunk.toString('latin1');
  });
  return () => text;
}

/** Rejects when something that the commit reaches is neither new nor reached by what was here: a ref must never say it is. */
async function checkConnected(call: Omit<GitCall, 'args'>, sha: string): Promise<void> {
  const { source: _, ...local } = call;
  // It counts because simple-git waits 50 ms for a command that says nothing.
  await runGit({ ...local, args: ['rev-list', '--objects', '--count', sha, '--not', '--all'] });
}
