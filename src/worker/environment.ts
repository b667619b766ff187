/**
 * The environment of a step: `CI_*` as Woodpecker's and GitLab's users know them, `IMPGEM_*` for what is ours. One list;
 * `docs/environment.md` shows it, and a test keeps the two alike. Values are a stranger's text (branch names, commit
 * messages) and reach a step as values of variables only, never as Bash.
 */
import { STEP_PATHS } from '../executors/executor.ts';
import type { EventKind } from '../runs/event.ts';
import { cut, MAX_VARIABLE_BYTES } from './handover.ts';
import type { Assignment } from './ports.ts';

export interface Variable {
  name: string;
  /** For the table in the docs. */
  meaning: string;
  /** Events that have it; absent: every event. */
  events?: EventKind[];
  value: (facts: StepFacts) => string | number | undefined;
}

export interface StepFacts {
  assignment: Assignment;
  step: { name: string; index: number; retry: number };
}

const PULL: EventKind[] = ['pull_request'];
const event = (facts: StepFacts) => facts.assignment.event;
const run = (facts: StepFacts) => facts.assignment.run;
const repository = (facts: StepFacts) => {
  const [forge = '', owner = '', name = ''] = run(facts).repository.split('/');
  return { forge, owner, name };
};
const seconds = (time: string | undefined) => (time === undefined ? undefined : Math.floor(Date.parse(time) / 1000));

/** Every variable that Imp Gem sets, in the order of the docs. */
export const VARIABLES: Variable[] = [
  { name: 'CI', meaning: '`true`. The only one that `env` of the pipeline may change', value: () => 'true' },
  { name: 'IMPGEM', meaning: '`true`: tells Imp Gem from other systems', value: () => 'true' },
  { name: 'CI_COMMIT_SHA', meaning: 'Commit that is built', value: (f) => run(f).sha },
  { name: 'CI_COMMIT_REF', meaning: 'Full ref: `refs/heads/main`, `refs/tags/v1`', value: (f) => run(f).ref },
  {
    name: 'CI_COMMIT_BRANCH',
    meaning: 'Branch; of a pull request the branch it goes to',
    events: ['push', 'pull_request', 'cron', 'manual', 'api'],
    value: (f) => event(f).pullRequest?.targetBranch ?? run(f).branch,
  },
  { name: 'CI_COMMIT_TAG', meaning: 'Name of the tag', events: ['tag', 'manual', 'api'], value: (f) => run(f).tag },
  { name: 'CI_COMMIT_MESSAGE', meaning: 'Whole commit message', value: (f) => run(f).message },
  { name: 'CI_COMMIT_AUTHOR', meaning: 'Author of the commit', value: (f) => run(f).author },
  { name: 'CI_COMMIT_AUTHOR_EMAIL', meaning: "The author's address, when known", value: (f) => event(f).authorEmail },
  {
    name: 'CI_COMMIT_PULL_REQUEST',
    meaning: 'Number of the pull request',
    events: PULL,
    value: (f) => event(f).pullRequest?.number,
  },
  {
    name: 'CI_COMMIT_SOURCE_BRANCH',
    meaning: 'Branch that the pull request comes from',
    events: PULL,
    value: (f) => event(f).pullRequest?.sourceBranch,
  },
  {
    name: 'CI_COMMIT_TARGET_BRANCH',
    meaning: 'Branch that the pull request goes to',
    events: PULL,
    value: (f) => event(f).pullRequest?.targetBranch,
  },
  {
    name: 'CI_PREV_COMMIT_SHA',
    meaning: 'What the branch pointed at before; absent for a new one',
    events: ['push', 'pull_request'],
    value: (f) => event(f).before,
  },
  {
    name: 'CI_REPO',
    meaning: '`owner/name`',
    value: (f) => `${repository(f).owner}/${repository(f).name}`,
  },
  { name: 'CI_REPO_OWNER', meaning: 'Owner', value: (f) => repository(f).owner },
  { name: 'CI_REPO_NAME', meaning: 'Name without owner', value: (f) => repository(f).name },
  { name: 'CI_REPO_URL', meaning: 'Page of the repository', value: (f) => f.assignment.links.repository },
  { name: 'CI_REPO_CLONE_URL', meaning: 'Clone address, without credentials', value: (f) => f.assignment.links.clone },
  { name: 'CI_REPO_DEFAULT_BRANCH', meaning: 'Default branch, when known', value: (f) => event(f).defaultBranch },
  { name: 'CI_PIPELINE_NUMBER', meaning: 'Number of the run in its repository', value: (f) => run(f).number },
  {
    name: 'CI_PIPELINE_EVENT',
    meaning: '`push`, `tag`, `pull_request`, `cron`, `manual` or `api`',
    value: (f) => run(f).event,
  },
  { name: 'CI_PIPELINE_URL', meaning: "The run's page", value: (f) => f.assignment.links.run },
  { name: 'CI_PIPELINE_CREATED', meaning: 'Seconds since 1970', value: (f) => seconds(run(f).createdAt) },
  { name: 'CI_PIPELINE_STARTED', meaning: 'Seconds since 1970', value: (f) => seconds(run(f).startedAt) },
  { name: 'CI_STEP_NAME', meaning: 'Name of the step', value: (f) => f.step.name },
  { name: 'CI_STEP_NUMBER', meaning: 'Place of the step in its job, from 0', value: (f) => f.step.index },
  { name: 'CI_WORKSPACE', meaning: `\`${STEP_PATHS.workspace}\``, value: () => STEP_PATHS.workspace },
  {
    name: 'CI_FORGE_TYPE',
    meaning: '`github` or `gitea`; `local` in `impgem run` of a checkout from elsewhere',
    value: (f) => repository(f).forge,
  },
  { name: 'CI_FORGE_URL', meaning: 'Address of the forge', value: (f) => f.assignment.links.forge },
  { name: 'CI_SYSTEM_NAME', meaning: '`impgem`', value: () => 'impgem' },
  {
    name: 'CI_SYSTEM_PLATFORM',
    meaning: 'Platform of the worker: `linux/x64`, `linux/arm64`',
    value: () => `${process.platform}/${process.arch}`,
  },
  { name: 'IMPGEM_RUN', meaning: 'Id of the run', value: (f) => run(f).id },
  { name: 'IMPGEM_REPOSITORY', meaning: '`forge/owner/name`', value: (f) => run(f).repository },
  { name: 'IMPGEM_PIPELINE', meaning: 'Name of the pipeline; empty for `.impgem.yml`', value: (f) => run(f).pipeline },
  { name: 'IMPGEM_JOB', meaning: 'Id of the job', value: (f) => f.assignment.spec.id },
  { name: 'IMPGEM_JOB_NAME', meaning: 'Name of the job as shown', value: (f) => f.assignment.spec.name },
  { name: 'IMPGEM_ATTEMPT', meaning: 'Attempt of the job, from 1', value: (f) => f.assignment.attempt },
  { name: 'IMPGEM_RETRY', meaning: 'Retry of the step, 0 at first', value: (f) => f.step.retry },
  { name: 'IMPGEM_CRON', meaning: 'Name of the cron entry', events: ['cron'], value: (f) => event(f).cron },
  {
    name: 'IMPGEM_ENV',
    meaning: 'File: `NAME=value` for the steps after this one',
    value: () => `${STEP_PATHS.step}/env`,
  },
  {
    name: 'IMPGEM_OUTPUT',
    meaning: 'File: `NAME=value`, read as `steps.STEP.outputs.NAME`',
    value: () => `${STEP_PATHS.step}/output`,
  },
  {
    name: 'IMPGEM_PATH',
    meaning: 'File: a folder a line for the front of `PATH`',
    value: () => `${STEP_PATHS.step}/path`,
  },
  { name: 'IMPGEM_SUMMARY', meaning: "File: markdown for the run's page", value: () => `${STEP_PATHS.step}/summary` },
];

export interface EnvironmentLayers {
  /** Resolved `env` of pipeline and job. */
  job: Record<string, string>;
  /** What earlier steps handed on. */
  handedOn: ReadonlyMap<string, string>;
  /** Resolved `env` of the step. */
  step: Record<string, string>;
  secrets: ReadonlyMap<string, string>;
}

/** The whole environment of a step, nearest layer last; what Imp Gem sets (but CI) wins over all. */
export function buildEnvironment(facts: StepFacts, layers: EnvironmentLayers): Record<string, string> {
  const ours = ciVariables(facts);
  return {
    CI: 'true',
    ...layers.job,
    ...Object.fromEntries(layers.handedOn),
    ...layers.step,
    ...Object.fromEntries(layers.secrets),
    ...ours,
  };
}

function ciVariables(facts: StepFacts): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, value } of VARIABLES) {
    const raw = value(facts);
    // A commit message may be longer than any process can be handed, or hold a NUL that would end it early.
    if (raw !== undefined && name !== 'CI') found[name] = cut(String(raw).replaceAll('\0', ''), MAX_VARIABLE_BYTES);
  }
  return found;
}
