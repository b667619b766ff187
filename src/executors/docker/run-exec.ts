import type Docker from 'dockerode';
import { engineCall } from './engine.ts';
import { payloadsOf } from './engine-log.ts';

export interface ExecOptions {
  /** Default: the container's. */
  user?: string;
  /** Takes what it prints, which is dropped otherwise. True: its end is not waited for. */
  onOutput?: (bytes: Buffer) => boolean;
}

/** Runs a command in a running container and gives its exit code, or undefined when it was given up or not waited for. */
export async function runExec(
  docker: Docker,
  containerId: string,
  command: string[],
  signal: AbortSignal,
  { user, onOutput }: ExecOptions = {},
): Promise<number | undefined> {
  return engineCall('run a command in a container', async () => {
    const exec = await docker.getContainer(containerId).exec({
      Cmd: command,
      AttachStdout: true,
      AttachStderr: true,
      ...(user === undefined ? {} : { User: user }),
    });
    const stream = await exec.start({});
    const giveUp = () => stream.destroy();
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
    let enough = false;
    try {
      for await (const bytes of payloadsOf(stream)) if ((enough = onOutput?.(bytes) === true)) break;
    } catch {
      // It was given up, or the engine is away: then that is what the next call says.
    }
    signal.removeEventListener('abort', giveUp);
    return signal.aborted || enough ? undefined : ((await exec.inspect()).ExitCode ?? undefined);
  });
}
