/** What is pushed, and what must come of it: pipelines of one to three jobs whose every log line is known. */
import type { Random } from './random.ts';

export interface ExpectedStep {
  name: string;
  /** Byte for byte what the log of the last attempt holds. */
  log: string;
}

export interface ExpectedJob {
  id: string;
  state: 'succeeded' | 'failed' | 'skipped';
  steps: ExpectedStep[];
}

export interface PlannedPush {
  repository: string;
  number: number;
  pipeline: string;
  state: 'succeeded' | 'failed';
  jobs: ExpectedJob[];
  /** ms after its commit until its delivery is sent: pushes of one repository may pass each other. */
  delayMs: number;
  /** Sent again this many ms after it was accepted. */
  againMs: number[];
}

/** Of all jobs. Docker workers take others, too, when they are free. */
const DOCKER_SHARE = 0.15;
/** A variable that every step of this chaos has in its environment, so that what is left of one can be found. */
export const MARK = 'CHAOS_MARK';

/** `dockerLabel`: some jobs run on workers of this label only. */
export function planPush(
  random: Random,
  repository: string,
  number: number,
  mark: string,
  dockerLabel?: string,
): PlannedPush {
  const count = random.between(1, 3);
  const chained = random.chance(0.4);
  const fails = random.chance(0.15);
  const jobs: ExpectedJob[] = [];
  let text = `env: { ${MARK}: "${mark}" }\njobs:\n`;
  for (let index = 0; index < count; index++) {
    const id = `job${index}`;
    const failing = fails && index === 0;
    const skipped = chained && fails && index > 0;
    const steps = Array.from({ length: random.between(1, 2) }, (_, step) =>
      planStep(random, `${mark} ${number} ${id} step${step}`, `step${step}`),
    );
    const last = steps.at(-1);
    if (failing && last) last.script += '; exit 3';
    text += `  ${id}:\n`;
    if (chained && index > 0) text += `    needs: [job${index - 1}]\n`;
    if (dockerLabel !== undefined && random.chance(DOCKER_SHARE)) text += `    runs-on: [${dockerLabel}]\n`;
    text += `    steps:\n`;
    for (const step of steps) text += `      - { name: ${step.name}, run: ${JSON.stringify(step.script)} }\n`;
    jobs.push({
      id,
      state: failing ? 'failed' : skipped ? 'skipped' : 'succeeded',
      steps: steps.map(({ name, log }) => ({ name, log: skipped ? '' : log })),
    });
  }
  return {
    repository,
    number,
    pipeline: text,
    state: fails ? 'failed' : 'succeeded',
    jobs,
    delayMs: random.chance(0.3) ? random.between(3000, 9000) : random.between(0, 1500),
    againMs: random.chance(0.3)
      ? [random.between(0, 3000), ...(random.chance(0.3) ? [random.between(0, 9000)] : [])]
      : [],
  };
}

function planStep(random: Random, words: string, name: string): { name: string; script: string; log: string } {
  const lines = random.pick([1, 5, 50, 400]);
  // Some are over at once, some live long enough to be killed in the middle.
  const pauses = random.pick([0, 0, 4, 10, 20]);
  const every = Math.max(1, Math.floor(lines / Math.max(1, pauses)));
  const wait = pauses === 0 ? '' : `; if (( i % ${every} == 0 )); then sleep 0.1; fi`;
  const script = `for (( i = 1; i <= ${lines}; i++ )); do echo "${words} line $i"${wait}; done`;
  const log = Array.from({ length: lines }, (_, index) => `${words} line ${index + 1}\n`).join('');
  return { name, script, log };
}
