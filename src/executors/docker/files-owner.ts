/**
 * Whose a job's files are. Steps run as whatever user their image or the operator says, and the worker need not be root:
 * so the files are the step's user's while a step runs, and the worker's while that reads or writes them. Where all are
 * root, or the same user, nothing is ever done.
 */
import { InfrastructureError, InputError } from '../../errors.ts';
import { STEP_PATHS } from '../executor.ts';
import { USUAL_PATH } from './entry.ts';
import type { ExecutorParts } from './parts.ts';
import { runExec } from './run-exec.ts';
import type { Slot } from './slot.ts';
import { fetchFile } from './step-archive.ts';

export interface FilesOwner {
  /** Before a step: its container's user owns workspace and home, so that it can write there, and git trusts it. */
  giveTo(containerId: string, image: string): Promise<void>;
  /** Before the worker reads or writes: it can, also what a step made private. */
  take(): Promise<void>;
  /** The worker has put files of its own there. */
  mixed(): void;
}

const ROOT = 0;

/** What runs in the job now. */
export interface Busy {
  step(): boolean;
  stepOrService(): boolean;
}

export function createFilesOwner(parts: ExecutorParts, slot: Slot, runs: Busy): FilesOwner {
  // What goes to volumes is packed and unpacked as root.
  const ours = slot.volumes ? ROOT : (process.getuid?.() ?? ROOT);
  // Undefined: it may be more than one. Where we are root that is known of a new job, and the usual job stays root's.
  let owner = ours === ROOT && !slot.adopted ? ROOT : undefined;
  let turn: Promise<void> = Promise.resolve();

  function change(to: number): Promise<void> {
    turn = turn
      .catch(() => undefined)
      .then(async () => {
        if (owner === to) return;
        owner = undefined;
        await changeOwner(parts, slot, to);
        owner = to;
      });
    return turn;
  }

  return {
    async giveTo(containerId, image) {
      const user = await userOf(parts, containerId, image);
      // Root can write to everything; whoever runs beside it could not any more.
      if (user === ROOT && runs.step()) return;
      await change(user);
    },
    async take() {
      // A step that runs beside needs its files as they are; what is private to it then cannot be read.
      if (ours !== ROOT && !runs.stepOrService()) await change(ours);
    },
    mixed: () => {
      if (owner !== ROOT || ours !== ROOT) owner = undefined;
    },
  };
}

const LONGEST_MS = 120_000;

/** Through the container that holds the job's network: the engine's root can do what a worker cannot. Follows no link. */
async function changeOwner(parts: ExecutorParts, slot: Slot, user: number): Promise<void> {
  const change = `${USUAL_PATH}; exec chown -hR ${user} ${STEP_PATHS.workspace} ${STEP_PATHS.home}`;
  const command = ['/bin/sh', '-c', change];
  const code = await runExec(parts.docker, slot.holderId, command, AbortSignal.timeout(LONGEST_MS), { user: 'root' });
  if (code === 126 || code === 127)
    throw new InputError(
      'image-without-chown',
      `The image ${slot.image} has no chown, with which the files of the job are given to user ${user}`,
    );
  if (code !== 0)
    throw new InfrastructureError(
      'workspace-owner',
      `The files of the job could not be given to user ${user}: chown in ${slot.image} ended with ${code ?? 'no answer'}`,
    );
}

/** The user id that a container of a step runs as. */
async function userOf(parts: ExecutorParts, containerId: string, image: string): Promise<number> {
  const seen = parts.images.seen(image);
  const [name = ''] = (parts.options.runAs ?? seen?.user ?? '').split(':');
  if (name === '') return ROOT;
  if (/^\d+$/.test(name)) return Number(name);
  const key = `${seen?.id ?? image} ${name}`;
  const user = parts.users.get(key) ?? (await idOf(parts, containerId, name));
  parts.users.set(key, user);
  return user;
}

async function idOf(parts: ExecutorParts, containerId: string, name: string): Promise<number> {
  const lines = (await fetchFile(parts.docker, containerId, '/etc/passwd')).split('\n');
  const id = lines.map((line) => line.split(':')).find(([first]) => first === name)?.[2];
  // The engine has started the container, so it knew the name.
  return id === undefined ? ROOT : Number(id);
}
