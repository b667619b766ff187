import { randomUUID } from 'node:crypto';
import { simpleGit, type SimpleGitOptions } from 'simple-git';
import { ImpGemError, InfrastructureError, messageOf } from '../errors.ts';
import { basicAuthorization, gitEnvironment, type GitEnvironmentOptions } from './git-environment.ts';
import { killMarked, MARKER } from './kill-marked.ts';

export interface GitCall extends GitEnvironmentOptions {
  /** Repository to work on; git never looks for one by itself. */
  gitDir: string;
  workTree?: string;
  /** Further variables. */
  env?: Record<string, string>;
  /** Fixed words and validated values only; what a stranger chose comes after `--` or `--end-of-options`. */
  args: string[];
  input?: string;
  signal?: AbortSignal;
  /** Output past this ends the call with `git-output-too-large`. */
  maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
/** How long git gets to remove its lock files before everything of the call is killed. */
const GRACE_MS = 1000;

// The guard of simple-git refuses these settings from anyone; here they come from git-environment.ts alone.
const OURS: SimpleGitOptions['unsafe'] = {
  allowUnsafeConfigEnvCount: true,
  allowUnsafeConfigPaths: true,
  allowUnsafeCredentialHelper: true,
  allowUnsafeFilter: true,
  allowUnsafeFsMonitor: true,
  allowUnsafeHooksPath: true,
  allowUnsafeSshCommand: true,
};

/**
 * Runs one git command and gives what it printed. Errors: InfrastructureError `git-timeout`, `git-failed` (its cause has
 * git's own words), ImpGemError `git-cancelled`, `git-output-too-large`. No message holds a credential.
 */
export async function runGit(call: GitCall): Promise<Buffer> {
  const marker = randomUUID();
  const env: Record<string, string> = {
    ...gitEnvironment(call),
    ...call.env,
    GIT_DIR: call.gitDir,
    [MARKER]: marker,
    ...(call.workTree ? { GIT_WORK_TREE: call.workTree } : {}),
  };
  const overflow = new AbortController();
  const timeout = AbortSignal.timeout(call.timeoutMs);
  const stop = AbortSignal.any([overflow.signal, timeout, ...(call.signal ? [call.signal] : [])]);
  const git = simpleGit({
    baseDir: call.workTree ?? call.gitDir,
    abort: stop,
    allowEnvironment: Object.keys(env).filter((name) => name.startsWith('GIT_')),
    ...(OURS ? { unsafe: OURS } : {}),
    ...(call.input === undefined ? {} : { input: () => call.input }),
  }).env(env);
  const limit = call.maxBytes ?? DEFAULT_MAX_BYTES;
  let bytes = 0;
  git.outputHandler((_command, stdout) => {
    stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > limit) overflow.abort();
    });
  });
  const [command = ''] = call.args;
  try {
    return Buffer.from(await untilKilled(git.raw(call.args), stop, marker));
  } catch (error) {
    if (stop.aborted) killMarked(marker);
    if (overflow.signal.aborted)
      throw new ImpGemError('git-output-too-large', `git ${command} gave more than ${limit} bytes`, { cause: error });
    if (call.signal?.aborted) throw cancelled();
    if (timeout.aborted) throw timedOut(call, command);
    throw new InfrastructureError('git-failed', `git ${command} failed: ${lastWords(error, call)}`, {
      cause: new Error(cleaned(messageOf(error), call)),
      retryable: true,
    });
  }
}

/** The call's own end, or at the latest GRACE_MS after the stop: git is then killed with all that it started. */
async function untilKilled<T>(running: Promise<T>, stop: AbortSignal, marker: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const onStop = () => {
    timer = setTimeout(() => killMarked(marker), GRACE_MS);
  };
  stop.addEventListener('abort', onStop, { once: true });
  try {
    return await running;
  } finally {
    clearTimeout(timer);
    stop.removeEventListener('abort', onStop);
  }
}

export function timedOut({ timeoutMs }: Pick<GitCall, 'timeoutMs'>, command: string): InfrastructureError {
  const message = `git ${command} did not end within ${timeoutMs / 1000} s (IMPGEM_FETCH_TIMEOUT)`;
  return new InfrastructureError('git-timeout', message, { retryable: true });
}

export function cancelled(): ImpGemError {
  return new ImpGemError('git-cancelled', 'The git command was cancelled');
}

/** The last line in which git (or the server, `remote:`) says what is wrong; bounded, without control characters. */
function lastWords(error: unknown, call: GitCall): string {
  const lines = cleaned(messageOf(error), call).split('\n');
  const telling = lines.findLast((line) => /^(?:fatal|error|remote):/.test(line)) ?? lines.at(-1) ?? '';
  return telling.replace(/^(?:fatal|error): /, '').slice(0, 300);
}

function cleaned(text: string, call: GitCall): string {
  let clean = text.trim().replace(/[^\P{Cc}\n]/gu, ' ');
  const { source } = call;
  if (source?.credentials)
    for (const secret of [basicAuthorization(source).slice('Basic '.length), source.credentials.password])
      if (secret !== '') clean = clean.replaceAll(secret, '***');
  return clean;
}
