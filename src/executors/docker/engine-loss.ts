/**
 * An engine that dies under a job is not the job's failure: what it was asked for then is told as ExecutorLostError, and
 * the job is carried on or started over when the engine is back.
 */
import { ExecutorLostError, ImpGemError, InputError } from '../../errors.ts';
import type { AdoptedJob, Exit, JobSandbox } from '../executor.ts';
import { engineError, isGone, isUnreachable } from './engine.ts';
import type { ExecutorParts } from './parts.ts';

/** A container that was killed along with its engine ends like this; so may a step by itself. */
const KILLED = 137;

/** `holderId`: the container that holds the job's network, which no step can reach: it ends with its engine alone. */
export function tellEngineLoss(parts: ExecutorParts, holderId: string, job: AdoptedJob): AdoptedJob {
  const told = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      throw await lossBehind(parts, holderId, error);
    }
  };
  const toldExit = async (call: Promise<Exit>): Promise<Exit> => {
    const exit = await told(call);
    if (exit.code === KILLED && exit.reason === undefined && !(await told(isRunning(parts, holderId))))
      throw await endOf(parts, holderId);
    return exit;
  };
  const { sandbox } = job;
  const sharp: JobSandbox = {
    ...sandbox,
    start: (task, output, options) => toldExit(sandbox.start(task, output, options)),
    startService: (service, output, options) => told(sandbox.startService(service, output, options)),
    push: () => told(sandbox.push()),
    pull: () => told(sandbox.pull()),
  };
  return {
    ...job,
    sandbox: sharp,
    resume: (taskId, output, options) => toldExit(job.resume(taskId, output, options)),
  };
}

/** For calls before there is a sandbox. An engine on which no job may be run is no job's failure either. */
export async function tellUnready<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (isUnreachable(error)) throw unreachable(error);
    if (error instanceof ImpGemError && error.code === 'network-rules')
      throw new ExecutorLostError(error.message, { gone: true, cause: error });
    throw error;
  }
}

async function lossBehind(parts: ExecutorParts, holderId: string, error: unknown): Promise<unknown> {
  const ours = error instanceof ImpGemError ? error : engineError(error, 'run a task');
  if (isUnreachable(ours)) return unreachable(ours);
  if (ours.code === 'container-lost')
    return new ExecutorLostError('the container of a step was removed', { gone: true, cause: ours });
  if (!ours.code.startsWith('engine-')) return error;
  try {
    return (await isRunning(parts, holderId)) ? ours : await endOf(parts, holderId, ours);
  } catch (failure) {
    return isUnreachable(failure) ? unreachable(failure) : ours;
  }
}

export async function isRunning(parts: Pick<ExecutorParts, 'docker'>, id: string): Promise<boolean> {
  try {
    return (await parts.docker.getContainer(id).inspect()).State.Running;
  } catch (error) {
    if (isGone(error)) return false;
    throw engineError(error, 'look for the containers of a job');
  }
}

function unreachable(cause: unknown): ExecutorLostError {
  return new ExecutorLostError('the Docker engine does not answer', { gone: false, cause });
}

/** The holder ends with its engine, or at once where its image lacks what it holds the job with: the image's own failure. */
async function endOf({ docker }: Pick<ExecutorParts, 'docker'>, holderId: string, cause?: unknown): Promise<Error> {
  const holder = await docker
    .getContainer(holderId)
    .inspect()
    .catch((error: unknown) => {
      if (isGone(error)) return undefined;
      throw engineError(error, 'ask how a container ended');
    });
  const code = holder?.State.ExitCode;
  if (holder && (code === 126 || code === 127))
    return new InputError(
      'image-without-sleep',
      `The image ${holder.Config.Image} cannot hold the job: it has no \`sleep\` that can be run`,
      { cause },
    );
  return new ExecutorLostError('the Docker engine ended the containers of the job', { gone: true, cause });
}
