import type Docker from 'dockerode';
import { engineCall } from './engine.ts';

/** Runs a command in a running container, as its user or another, and gives its exit code, or undefined when it was given up. Its output is dropped. */
export async function runExec(
  docker: Docker,
  containerId: string,
  command: string[],
  signal: AbortSignal,
  user?: string,
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
    await new Promise<void>((resolve) =>
      stream
        .once('close', resolve)
        .once('error', () => resolve())
        .resume(),
    );
    signal.removeEventListener('abort', giveUp);
    return signal.aborted ? undefined : ((await exec.inspect()).ExitCode ?? undefined);
  });
}
