/** One stream of the engine's events for all containers of this worker: which ended by themselves, and how. */
import type Docker from 'dockerode';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { isGone } from './engine.ts';

export interface ContainerEnd {
  /** Exit code of its first process; undefined when the container is gone. */
  code?: number;
}

export interface WatchedEnd {
  /** Aborted when the container has ended; its reason is a ContainerEnd. */
  signal: AbortSignal;
  forget: () => void;
}

export interface EngineEvents {
  /** To be called before the container starts, or followed by `look`: what has ended already says so no more. */
  watch(containerId: string): WatchedEnd;
  /** Asks the engine whether a container has ended meanwhile, and says so to who watches it. False when it cannot tell: then it goes on asking for who watches. */
  look(containerId: string): Promise<boolean>;
  close(): void;
}

const RECONNECT_MS = 500;
/** Podman takes its own names for them alone, and gives `die` for the first. */
const ENDS = ['die', 'destroy', 'died', 'remove'];

/** `onConnect`: the engine answers, at first or again. */
export function createEngineEvents(docker: Docker, label: string, onConnect: () => void): EngineEvents {
  const waiting = new Map<string, AbortController>();
  let open: NodeJS.ReadableStream | undefined;
  let closed = false;
  void listen();

  async function listen(): Promise<void> {
    while (!isClosed()) {
      try {
        open = await docker.getEvents({
          filters: { type: ['container'], event: ENDS, label: [label] },
        });
        if (isClosed()) hangUp(open);
        onConnect();
        // What ended while nobody listened.
        await Promise.all([...waiting.keys()].map(look));
        await eachLine(open, onEvent);
      } catch {
        // The engine is away; whoever calls it hears of it. Here only the end of containers is missed, until it is back.
      }
      await delay(RECONNECT_MS, undefined, { ref: false });
    }
  }

  // A function, because the compiler believes that nothing changes while this waits.
  function isClosed(): boolean {
    return closed;
  }

  function onEvent(line: string): void {
    const event = JSON.parse(line) as { Action?: string; Actor?: { ID?: string; Attributes?: Record<string, string> } };
    const code = event.Actor?.Attributes?.['exitCode'];
    settle(event.Actor?.ID ?? '', code === undefined ? {} : { code: Number(code) });
  }

  async function look(id: string): Promise<boolean> {
    try {
      const { State } = await docker.getContainer(id).inspect();
      if (State.Running || State.Status === 'created') return false;
      settle(id, { code: State.ExitCode });
      return true;
    } catch (error) {
      if (isGone(error)) settle(id, {});
      else lookAgain(id);
      return isGone(error);
    }
  }

  /** What ended before the engine could be asked says so no more: who waits for it would wait for ever. */
  function lookAgain(id: string): void {
    if (!waiting.has(id)) return;
    setTimeout(() => {
      if (waiting.has(id) && !closed) void look(id);
    }, RECONNECT_MS).unref();
  }

  function settle(id: string, end: ContainerEnd): void {
    waiting.get(id)?.abort(end);
    waiting.delete(id);
  }

  return {
    watch(id) {
      const controller = waiting.get(id) ?? new AbortController();
      waiting.set(id, controller);
      return { signal: controller.signal, forget: () => waiting.delete(id) };
    },
    look,
    close() {
      closed = true;
      if (open) hangUp(open);
    },
  };
}

function hangUp(stream: NodeJS.ReadableStream): void {
  if (stream instanceof Readable) stream.destroy();
}

async function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): Promise<void> {
  let rest = '';
  for await (const part of stream) {
    const lines = (rest + String(part)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') onLine(line);
  }
}
