/** Short containers that do our own work on the engine's side: of the operator's image, never of one that a pipeline names. */
import type Docker from 'dockerode';
import { engineCall } from './engine.ts';
import { payloadsOf } from './engine-log.ts';

export interface OwnWork {
  /** For errors: `set network rules`. */
  what: string;
  image: string;
  command: string[];
  labels: Record<string, string>;
  /** All else is dropped. */
  capabilities: string[];
  host: Docker.HostConfig;
  /** Aborted: it is ended, and its result is of no use. */
  signal?: AbortSignal;
}

export interface OwnResult {
  code: number;
  /** What it printed, without bytes that are not ASCII. */
  text: string;
}

/** Runs it to its end, as root without a network of its own (unless `host` gives one), and removes it. */
export async function runOwnContainer(docker: Docker, work: OwnWork): Promise<OwnResult> {
  const { what, image, command, labels, capabilities, host, signal } = work;
  const [program, ...words] = command;
  signal?.throwIfAborted();
  const container = await engineCall(`create a container to ${what}`, () =>
    docker.createContainer({
      Image: image,
      Entrypoint: [program ?? '', ...words],
      Cmd: [],
      User: '0',
      WorkingDir: '/',
      Labels: labels,
      HostConfig: {
        NetworkMode: 'none',
        // What works on the engine's host is not to be remapped to another user than that has.
        UsernsMode: 'host',
        CapDrop: ['ALL'],
        CapAdd: capabilities,
        SecurityOpt: ['no-new-privileges'],
        LogConfig: { Type: 'none', Config: {} },
        ...host,
      },
    }),
  );
  const remove = () => container.remove({ force: true, v: true }).catch(() => undefined); // The reaper finds it by its label.
  const onAbort = () => void remove();
  try {
    signal?.throwIfAborted();
    signal?.addEventListener('abort', onAbort, { once: true });
    return await engineCall(what, async () => {
      const stream = await container.attach({ stream: true, stdout: true, stderr: true });
      const printed = textOf(stream);
      printed.catch(() => undefined); // Awaited below, unless it does not even start.
      await container.start();
      const [{ StatusCode }, text] = await Promise.all([container.wait() as Promise<{ StatusCode: number }>, printed]);
      return { code: StatusCode, text };
    });
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await remove();
  }
}

async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  const parts: Buffer[] = [];
  for await (const bytes of payloadsOf(stream)) parts.push(bytes);
  return Buffer.concat(parts)
    .toString('latin1')
    .replaceAll(/[^\x20-\x7e\n\t]/g, '');
}
