/** What the conformance tests share: a job in a temporary folder, and an Output that can be waited for. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  Executor,
  Exit,
  JobContext,
  JobSandbox,
  Output,
  StartOptions,
  Task,
} from '../../../src/executors/executor.ts';

export interface Capabilities {
  /** Scripts really run (the fake only answers `echo`, `exit` and `sleep`). */
  bash: boolean;
  /** `image:` chooses the tools; otherwise it is noted as ignored. */
  images: boolean;
  /** Limits of memory and processes are enforced for the whole tree. */
  limits: boolean;
  services: boolean;
  adoption: boolean;
  /** A task waits for an output that does not take its bytes; otherwise they wait in a file, up to the limit of the log. */
  blocksOnOutput: boolean;
  /** No file of /proc can even be opened for writing; otherwise only those that do something cannot. */
  sealsProc: boolean;
  /** Variables that every process has from the engine, whatever we say. */
  engineVariables?: Record<string, string>;
  /** The engine does not say that a step was killed for memory. */
  silentOnMemory?: true;
}

/** One executor under test. */
export interface Subject {
  /** Called once; the suite closes it. */
  create: () => Promise<Executor> | Executor;
  /** Default image of the jobs: has bash, coreutils and util-linux (flock, setsid). */
  image: string;
  can: Capabilities;
}

export interface RecordedOutput extends Output {
  bytes: () => Buffer;
  text: () => string;
  /** Resolves once the text has been written. */
  until: (text: string) => Promise<void>;
}

export function recordOutput(): RecordedOutput {
  const chunks: Buffer[] = [];
  let waiting: { text: string; resolve: () => void }[] = [];
  const bytes = (): Buffer => Buffer.concat(chunks);
  const text = (): string => bytes().toString('utf8');
  return {
    write: (chunk) => {
      chunks.push(Buffer.from(chunk));
      if (waiting.length === 0) return Promise.resolve();
      const seen = text();
      waiting = waiting.filter((wait) => {
        if (seen.includes(wait.text)) wait.resolve();
        return !seen.includes(wait.text);
      });
      return Promise.resolve();
    },
    bytes,
    text,
    until: (wanted) =>
      new Promise((resolve) => {
        if (text().includes(wanted)) resolve();
        else waiting.push({ text: wanted, resolve });
      }),
  };
}

export interface Ran {
  exit: Exit;
  text: string;
  bytes: Buffer;
}

export interface TestJob {
  sandbox: JobSandbox;
  context: JobContext;
  notes: string[];
  run: (script: string, task?: Partial<Task>, options?: Partial<StartOptions>) => Promise<Ran>;
  close: () => Promise<void>;
}

let tasks = 0;
let jobs = 0;

/** A task with a fresh id and nothing but a script. */
export function taskOf(script: string, extra: Partial<Task> = {}): Task {
  tasks += 1;
  return {
    id: `task-${tasks}`,
    script,
    shell: 'bash',
    env: {},
    path: [],
    network: 'default',
    limits: {},
    docker: false,
    ...extra,
  };
}

/** A context with its folders made, as the job runner hands it over. */
export async function contextOf(image: string, notes: string[], extra: Partial<JobContext> = {}): Promise<JobContext> {
  jobs += 1;
  const run = `conformance-${process.pid}-${jobs}`; // Named before the first await: several may be made at once.
  const folder = await mkdtemp(join(tmpdir(), 'impgem-conformance-'));
  await mkdir(join(folder, 'workspace'));
  await mkdir(join(folder, 'home'));
  return {
    owner: { run, job: 'test', attempt: 1 },
    folder,
    ready: Promise.resolve(),
    image,
    trusted: false,
    note: (line) => notes.push(line),
    ...extra,
  };
}

export async function openJob(executor: Executor, image: string, extra: Partial<JobContext> = {}): Promise<TestJob> {
  const notes: string[] = [];
  const context = await contextOf(image, notes, extra);
  const sandbox = await executor.prepare(context);
  return {
    sandbox,
    context,
    notes,
    run: async (script, task, options) => {
      const output = recordOutput();
      const signal = new AbortController().signal;
      const exit = await sandbox.start(taskOf(script, task), output, { signal, ...options });
      return { exit, text: output.text(), bytes: output.bytes() };
    },
    close: async () => {
      await sandbox.dispose();
      await rm(context.folder, { recursive: true, force: true });
    },
  };
}
