/** Programs and disk of this machine. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Settings } from '../../config/schema.ts';
import { messageOf } from '../../errors.ts';
import { probeNetwork } from '../../executors/sandbox/executor.ts';
import { dataFolder } from '../data-folder.ts';
import { type FreeRoom, freeRoom } from '../../free-room.ts';
import { FEW_FILES, type Finding, isOlder, roomText } from './finding.ts';

const OLDEST_NODE = '20.19';
/** Earlier ones do not know `safe.directory` and `--end-of-options` everywhere. */
const OLDEST_GIT = '2.35.2';
const LITTLE_SPACE = 1024 ** 3;

export async function checkPrograms(settings: Settings): Promise<Finding[]> {
  return [node(), ...(await Promise.all([git(), bubblewrap(settings), network(settings), disk(settings)]))];
}

function node(): Finding {
  const version = process.versions.node;
  if (!isOlder(version, OLDEST_NODE)) return { what: 'node', state: 'ok', message: `Node ${version}` };
  return { what: 'node', state: 'failed', message: `Node ${version}`, advice: `Take ${OLDEST_NODE} or newer.` };
}

async function git(): Promise<Finding> {
  const version = await versionOf('git', ['--version']);
  const advice = `Install git ${OLDEST_GIT} or newer.`;
  if (version === undefined) return { what: 'git', state: 'failed', message: 'git is not installed', advice };
  const message = `git ${version}`;
  if (isOlder(version, OLDEST_GIT)) return { what: 'git', state: 'failed', message, advice };
  return { what: 'git', state: 'ok', message };
}

async function bubblewrap(settings: Settings): Promise<Finding> {
  const version = await versionOf('bwrap', ['--version']);
  if (version !== undefined) return { what: 'bubblewrap', state: 'ok', message: `bubblewrap ${version}` };
  const message = 'bubblewrap is not installed';
  const state = settings.IMPGEM_EXECUTOR === 'sandbox' ? 'failed' : 'skipped';
  return { what: 'bubblewrap', state, message, advice: 'Install it for the sandbox: apt-get install bubblewrap' };
}

/** Of the sandbox executor. */
async function network(settings: Settings): Promise<Finding> {
  const what = 'sandbox network';
  const choice = settings.IMPGEM_SANDBOX_NETWORK;
  if (settings.IMPGEM_EXECUTOR === 'docker')
    return {
      what,
      state: 'skipped',
      message: 'steps run in containers',
      advice: 'Nothing, unless you set IMPGEM_EXECUTOR=sandbox.',
    };
  const reached = "sandbox steps are on the host's network and reach what listens on its loopback";
  if (choice === 'host') return { what, state: 'ok', message: `${reached} (IMPGEM_SANDBOX_NETWORK=host)` };
  const fault = await probeNetwork();
  if (fault === undefined) return { what, state: 'ok', message: 'each job of the sandbox has a network of its own' };
  if (choice === 'private')
    return { what, state: 'failed', message: fault, advice: 'A job does not start without: correct it.' };
  return {
    what,
    state: settings.IMPGEM_EXECUTOR === 'sandbox' ? 'warning' : 'skipped',
    message: `${reached}: ${fault}`,
    advice: 'Correct it, or say IMPGEM_SANDBOX_NETWORK=host.',
  };
}

async function versionOf(program: string, args: string[]): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(program, args, { timeout: 5000 });
    return /\d+(?:\.\d+)+/.exec(stdout)?.[0];
  } catch {
    return undefined; // Not there, or not runnable: the same to whoever asks.
  }
}

async function disk(settings: Settings): Promise<Finding> {
  const { root } = dataFolder(settings);
  const what = 'data folder';
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
    return dataFinding(root, await freeRoom(root));
  } catch (error) {
    const advice = 'Set IMPGEM_DATA to a folder that this user may write.';
    return { what, state: 'failed', message: `${root}: ${messageOf(error)}`, advice };
  }
}

export function dataFinding(root: string, { bytes, files }: FreeRoom): Finding {
  const what = 'data folder';
  const message = `${root}, ${roomText({ bytes, files })}`;
  if (bytes < LITTLE_SPACE)
    return { what, state: 'warning', message, advice: 'Make room: below 100 MB the server says that it is not ready.' };
  if (files < FEW_FILES)
    return { what, state: 'warning', message, advice: 'Remove files: below 5000 inodes a worker takes no job.' };
  return { what, state: 'ok', message };
}
