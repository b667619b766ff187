/** The start of a job: found alive, or a new folder in which workspace and sandbox are prepared side by side. */
import { ImpGemError, InputError } from '../errors.ts';
import type { AdoptedJob, JobContext, JobOwner, JobSandbox } from '../executors/executor.ts';
import { checkSecret } from '../logs/masking.ts';
import { fillWorkspace } from './fill-workspace.ts';
import { findJobFolder, makeJobFolder, type JobFolder } from './job-folder.ts';
import { createJobLog, type JobLog } from './job-log.ts';
import type { JobDefaults, JobRunnerDeps } from './job-runner.ts';
import { logKey } from './job-scope.ts';
import type { Assignment, JobPorts } from './ports.ts';

export interface BegunJob {
  assignment: Assignment;
  ports: JobPorts;
  defaults: JobDefaults;
  folder: JobFolder;
  log: JobLog;
  /** Aborted with a Stop, it ends everything of the job. */
  stop: AbortController;
  adopted?: AdoptedJob;
  facts: JobFacts;
  sandbox: Promise<JobSandbox>;
  /** Settles when the workspace is filled. */
  ready: Promise<void>;
  /** Known for sure once `ready` has settled. */
  objects(): string | undefined;
  secrets: Promise<ReadonlyMap<string, string>>;
  /** Removes what the executor made, once it has made it; nothing is put into the folder any more. Idempotent. */
  dispose(): Promise<void>;
  /** Lets go of it without stopping anything. */
  letGo(): Promise<void>;
}

/** What the journal knows of the job as a whole. */
export interface JobFacts {
  /** ms since 1970: the job's time limit is counted from here. */
  startedAt: number;
  /** Set when workspace, services and `env` were complete: from here on the job can be adopted. */
  ready?: { env: Record<string, string> };
  /** Of the mirror, as JobContext has them. */
  objects?: string;
}

/** Throws `adoption-failed`, having changed nothing, when the job was begun before and nothing of it is alive. */
export async function beginJob(deps: JobRunnerDeps & { assignment: Assignment }): Promise<BegunJob> {
  const { assignment, ports, defaults, executor } = deps;
  const owner: JobOwner = { run: assignment.run.id, job: assignment.spec.id, attempt: assignment.attempt };
  const earlier = findJobFolder(deps.folder, owner, executor.adopts);
  const wasBegun =
    earlier !== undefined || assignment.takenOver || assignment.steps.some((step) => step.state !== 'pending');
  const facts = earlier?.journal.load('job') as JobFacts | undefined;
  if (wasBegun && (!earlier || !facts?.ready)) throw adoptionFailed(assignment);

  const folder = earlier ?? makeJobFolder(deps.folder, owner, executor.adopts);
  const stored = earlier ? await ports.logs.length(logKey(assignment, 'job')) : 0;
  const secrets = readSecrets(assignment, ports);
  secrets.catch(() => undefined);
  const log = createJobLog(ports.logs, assignment, folder, stored, secrets);
  const stop = new AbortController();
  const over = new AbortController();
  const objects = ports.workspaces.objects?.(assignment) ?? facts?.objects;
  const context: JobContext = {
    owner,
    folder: folder.path,
    ...(objects === undefined ? {} : { objects }),
    ready: earlier
      ? Promise.resolve()
      : // Only after `prepare` was called: an executor may then put folders of its own in the place of the empty ones.
        Promise.resolve()
          .then(() => {
            const ended = AbortSignal.any([stop.signal, over.signal]);
            return fillWorkspace(ports.workspaces, assignment, folder.workspace, ended, (line) => log.note(line));
          })
          .then(({ objects }) => {
            // An executor that looks only when a task starts finds them here.
            if (objects !== undefined) context.objects = objects;
          }),
    abandoned: over.signal,
    image: assignment.spec.image ?? defaults.image,
    // Who may use secrets is one question, whose steps may have an engine is another: a fork's pull request may neither.
    trusted: assignment.trusted && defaults.trusts(assignment.run.repository),
    note: (line) => log.note(line),
  };
  const adopted = earlier ? await executor.adopt(context) : undefined;
  if (earlier && !adopted) throw adoptionFailed(assignment);
  for (const note of assignment.notes) log.note(note);
  const begunAt: JobFacts = facts ?? { startedAt: Date.now() };
  if (!facts) folder.journal.save('job', begunAt);
  const sandbox = adopted ? Promise.resolve(adopted.sandbox) : executor.prepare(context);
  // Each is waited for later; one that fails before must not count as unhandled.
  for (const promise of [context.ready, sandbox]) promise.catch(() => undefined);
  const settled = () => sandbox.catch(() => undefined);
  return {
    assignment,
    ports,
    defaults,
    folder,
    log,
    stop,
    ...(adopted ? { adopted } : {}),
    facts: begunAt,
    sandbox,
    ready: context.ready,
    objects: () => context.objects,
    secrets,
    dispose: async () => {
      over.abort();
      await (await settled())?.dispose();
      await context.ready.catch(() => undefined);
    },
    letGo: async () => {
      // What is not prepared by now cannot be adopted: who gets the job begins anew.
      over.abort();
      await (await settled())?.detach();
    },
  };
}

function adoptionFailed(assignment: Assignment): ImpGemError {
  return new ImpGemError(
    'adoption-failed',
    `nothing of job ${assignment.spec.id}, attempt ${assignment.attempt}, is alive on this worker`,
  );
}

/** Throws ImpGemError `secret-missing`, `secret-withheld` or of checkSecret, each naming the secret. */
async function readSecrets(assignment: Assignment, ports: JobPorts): Promise<ReadonlyMap<string, string>> {
  const { spec, trusted, run } = assignment;
  const names = [...new Set([...spec.secrets, ...spec.steps.flatMap((step) => step.secrets)])];
  if (names.length === 0) return new Map();
  if (!trusted)
    throw new ImpGemError('secret-withheld', `${secretsInWords(names)} not given to a pull request from a fork`);
  const values = await ports.secrets.get(run.repository, names);
  const missing = names.filter((name) => !values.has(name));
  if (missing.length > 0)
    throw new ImpGemError('secret-missing', `${secretsInWords(missing)} not known for ${run.repository}`);
  for (const name of names) checkSecretOfJob(name, values.get(name) ?? '');
  return values;
}

/** The operator's mistake, not the pipeline's: the job ends `errored`. */
function checkSecretOfJob(name: string, value: string): void {
  try {
    checkSecret(name, value);
  } catch (error) {
    if (error instanceof InputError) throw new ImpGemError(error.code, error.message, { cause: error });
    throw error;
  }
}

function secretsInWords(names: string[]): string {
  return names.length === 1 ? `secret ${names[0] ?? ''} is` : `secrets ${names.join(', ')} are`;
}

export const jobTimeout = (assignment: Assignment, defaults: JobDefaults): number =>
  assignment.spec.timeoutMs > 0 ? assignment.spec.timeoutMs : defaults.jobTimeoutMs;
