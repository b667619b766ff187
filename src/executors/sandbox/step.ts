/** Runs one script in a sandbox of its own with its limits, and reads what it left. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import type { Limits } from '../../runs/plan.ts';
import type { Exit, JobContext, Output, Task } from '../executor.ts';
import { environmentOf, HANDOVER_FILES, readHandover, taskCommand } from '../shell.ts';
import type { StepGroup } from './cgroups.ts';
import { groupName } from './group-name.ts';
import type { SandboxHost } from './host.ts';
import { composeRoot } from './root.ts';
import { runSandbox, SCRIPT_PATH, type RunOptions } from './run.ts';

/** Joins the control groups given before `--`, then becomes the command. */
const JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 126; shift; done; shift; exec "$@"';
/** Beginning of the output that is kept to explain a sandbox that did not start. */
const EXCERPT = 500;

export type StepTask = Pick<
  Task,
  'id' | 'script' | 'shell' | 'env' | 'path' | 'workingDirectory' | 'network' | 'limits'
>;

export interface StepResult extends Exit {
  /** Settles when what the step needed is removed. */
  cleaned: Promise<void>;
}

export async function runStep(
  host: SandboxHost,
  job: JobContext,
  task: StepTask,
  hosts: string | undefined,
  output: Output,
  options: RunOptions,
): Promise<StepResult> {
  const env = environmentOf(task);
  const command = taskCommand(task, SCRIPT_PATH);
  const limits = { ...host.limits, ...task.limits };
  const step = await makeStepFolder(join(job.folder, 'steps'), task.id);
  const group = host.cgroups?.create(groupName(job.owner, task.id), limits);
  const clean = async (): Promise<void> => {
    await Promise.all([group?.remove(), rm(step, { recursive: true, force: true })]);
  };
  try {
    const root = composeRoot(host.root, {
      workspace: join(job.folder, 'workspace'),
      home: join(job.folder, 'home'),
      step,
      ...(job.objects === undefined ? {} : { objects: job.objects }),
      ...(hosts === undefined ? {} : { hosts }),
      network: task.network,
      limits,
    });
    const excerpt = keepBeginning(output);
    const launcher = group === undefined ? limitProcess(host, limits) : joinGroup(group);
    const spec = { bwrap: host.bwrap, root, env, script: task.script, command, launcher };
    const ended = await runSandbox(spec, await host.pipes.take(), excerpt, options);
    const outOfMemory = ended.code !== 0 && (group?.outOfMemory() ?? false);
    if (!ended.ran && !ended.cancelled && !outOfMemory) throw notStarted(excerpt.text());
    const handover = await readHandover(step);
    const reason = ended.cancelled ? 'cancelled' : outOfMemory ? 'out of memory' : undefined;
    return { code: ended.code, ...(reason === undefined ? {} : { reason }), handover, cleaned: clean() };
  } catch (error) {
    await clean();
    throw error;
  }
}

async function makeStepFolder(parent: string, id: string): Promise<string> {
  await mkdir(parent, { recursive: true });
  const folder = await mkdtemp(join(parent, `${id}-`));
  await Promise.all(HANDOVER_FILES.map((name) => writeFile(join(folder, name), '')));
  return folder;
}

function joinGroup(group: StepGroup): string[] {
  return group.entries.length === 0 ? [] : ['/bin/sh', '-c', JOIN, 'sh', ...group.entries, '--'];
}

/**
 * Where we may not make control groups, each process has limits of its own. Data, not address space: runtimes reserve far
 * more addresses than they use. The number of processes counts in the sandbox's own user namespace. CPU has no such limit.
 */
function limitProcess(host: SandboxHost, limits: Limits): string[] {
  const options = [
    ...(limits.memory === undefined ? [] : [`--data=${limits.memory}`]),
    ...(limits.pids === undefined ? [] : [`--nproc=${limits.pids}`]),
  ];
  return host.prlimit === undefined || options.length === 0 ? [] : [host.prlimit, ...options, '--'];
}

function keepBeginning(output: Output): Output & { text: () => string } {
  let beginning = '';
  return {
    write: (bytes) => {
      if (beginning.length < EXCERPT) beginning += bytes.toString('utf8', 0, EXCERPT);
      return output.write(bytes);
    },
    text: () => beginning.slice(0, EXCERPT).trim(),
  };
}

function notStarted(said: string): InfrastructureError {
  const userns = /namespace|uid map|Operation not permitted/i.test(said)
    ? ' Unprivileged user namespaces may be switched off on this machine (kernel.unprivileged_userns_clone, AppArmor).'
    : '';
  return new InfrastructureError(
    'sandbox-failed',
    `The sandbox of the step did not start or did not end by itself: ${said || 'it said nothing.'}${userns}`,
  );
}
