/**
 * Scenarios: `test/scenarios/NN_name/` holds the files of a repository and, in `expected.json`, what happens to it and what
 * must come of that. Every text in an outcome may hold `*` for "anything".
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Job, Run, Step } from '../../src/runs/run.ts';
import { freePort } from './free-port.ts';

const SCENARIOS = new URL('../scenarios/', import.meta.url).pathname;

interface Scenario {
  /** The files are on `main` before anything happens; else they come with the first event. */
  base?: boolean;
  /** Handed to `impgem run`; the server keeps none yet. */
  secrets?: Record<string, string>;
  /** Why the server cannot do it. */
  notOnServer?: string;
  /** What only the sandbox does so. */
  notInContainers?: string;
  /** What stands at the forge in the end, by context, where it is not simply what each job ended as. */
  statuses?: Record<string, string>;
  events: Happening[];
}

export interface PlayedScenario extends Scenario {
  /** Of the repository, by path. */
  files: Record<string, string>;
}

export interface Happening {
  event?: 'push' | 'tag' | 'pull_request';
  /** That is pushed, or that a pull request comes from; it goes to `main`. */
  branch?: string;
  tag?: string;
  message?: string;
  /** Of the commit that is there; default: of a new one. */
  again?: boolean;
  /** Written before the event; null removes. */
  files?: Record<string, string | null>;
  /** What the pull request's target has gained since it branched off. */
  meanwhile?: Record<string, string>;
  /** The next event follows as soon as the run has come so far; default: when it is over. */
  until?: 'running' | 'waiting';
  /** Then a file `go` appears in the workspace of the first event's job, for which its step may wait. */
  go?: boolean;
  /** Why it cannot happen in a local run. */
  notLocally?: string;
  /** No run comes of it, for this reason. */
  ignored?: string;
  /** The file is refused with these diagnostics. */
  refused?: string[];
  /** By pipeline; '' is `.impgem.yml`. */
  runs?: Record<string, Outcome>;
}

export interface Outcome {
  /** The lines of `describeRun`. */
  states: string[];
  /** Whole text by `job / step`, `job / job`, `job / service-NAME`. */
  logs?: Record<string, string>;
  /** `job/path`, sorted. */
  artifacts?: string[];
  /** In no log and no state. */
  absent?: string[];
}

/** One run, wherever it ran. */
export interface Observed {
  run: Pick<Run, 'pipeline' | 'state' | 'reason' | 'jobs'>;
  log(job: string, part: string): Promise<string>;
  artifacts(): Promise<string[]>;
}

export function scenarioNames(): string[] {
  return readdirSync(SCENARIOS).sort();
}

/** A scenario to be played: its services have ports of their own, as all sandboxes share the machine's loopback. */
export async function openScenario(name: string): Promise<PlayedScenario> {
  const scenario = readScenario(name);
  const port = String(await freePort());
  const files = Object.entries(scenario.files).map(([path, text]) => [path, text.replaceAll(PORT, port)]);
  return { ...scenario, files: Object.fromEntries(files) as Record<string, string> };
}

/** As it stands in the files. */
const PORT = '28471';

/** A scenario of one event may leave `events` out. */
export function readScenario(name: string): PlayedScenario {
  const folder = join(SCENARIOS, name);
  const { events, base, secrets, notOnServer, notInContainers, statuses, ...only } = JSON.parse(
    readFileSync(join(folder, 'expected.json'), 'utf8'),
  ) as Partial<Scenario> & Happening;
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path !== join(folder, 'expected.json'));
  return {
    ...(base === undefined ? {} : { base }),
    ...(secrets === undefined ? {} : { secrets }),
    ...(notOnServer === undefined ? {} : { notOnServer }),
    ...(notInContainers === undefined ? {} : { notInContainers }),
    ...(statuses === undefined ? {} : { statuses }),
    events: events ?? [only],
    files: Object.fromEntries(paths.map((path) => [relative(folder, path), readFileSync(path, 'utf8')])),
  };
}

/** `run: state (reason)`, then each job and its steps. */
export function describeRun({ state, reason, jobs }: Observed['run']): string[] {
  return [
    `run: ${because(state, reason)}`,
    ...jobs.flatMap((job) => [describeJob(job), ...job.steps.map((step) => `${job.id} / ${describeStep(step)}`)]),
  ];
}

function describeJob({ id, state, reason, attempt, outputs = {} }: Job): string {
  const handed = Object.entries(outputs).map(([name, value]) => `${name}=${value}`);
  return [`${id}: ${because(state, reason)}`, ...(attempt > 1 ? [`attempt ${attempt}`] : []), ...handed].join(', ');
}

function describeStep({ name, state, reason, exitCode, summary }: Step): string {
  const why = reason ?? (state === 'failed' ? `exit code ${exitCode}` : undefined);
  return `${name}: ${because(state, why)}${summary === undefined ? '' : `, summary ${summary}`}`;
}

function because(state: string, reason: string | undefined): string {
  return reason === undefined ? state : `${state} (${reason})`;
}

/** The expected text where the actual one fits it, so that a comparison shows only what differs. */
export function settle(actual: string, expected: string | undefined): string {
  if (expected === undefined) return actual;
  const parts = expected.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`, 's').test(actual) ? expected : actual;
}

/** What is seen of a run, in the shape of an Outcome. */
export async function outcomeOf(observed: Observed, expected: Outcome): Promise<Outcome> {
  const states = describeRun(observed.run).map((line, index) => settle(line, expected.states[index]));
  const logs: Record<string, string> = {};
  for (const [name, text] of Object.entries(expected.logs ?? {})) {
    const [job = '', part = ''] = name.split(' / ');
    const index = observed.run.jobs.find((one) => one.id === job)?.steps.findIndex((step) => step.name === part) ?? -1;
    logs[name] = settle(await observed.log(job, index < 0 ? part : String(index)), text);
  }
  const artifacts = (await observed.artifacts()).sort();
  const present = expected.absent?.filter((text) => JSON.stringify([observed.run, logs]).includes(text)) ?? [];
  return {
    states,
    ...(expected.logs === undefined ? {} : { logs }),
    ...(artifacts.length === 0 ? {} : { artifacts }),
    ...(expected.absent === undefined ? {} : { absent: expected.absent.filter((text) => !present.includes(text)) }),
  };
}
