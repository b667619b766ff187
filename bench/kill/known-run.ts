/** A pipeline whose every byte of output is known: bursts and pauses, long and unfinished lines, binary, both streams, values handed on. */
import { createHash } from 'node:crypto';

export interface KnownRun {
  pipeline: string;
  state: 'succeeded' | 'failed';
  /** In order; each step's log, byte for byte. */
  steps: { name: string; exitCode: number; log: Buffer }[];
  artifact: { path: string; size: number; sha256: string };
}

const JOB_LINES = 1200;
const LONG_LINE = 200_000;
const BINARY_BYTES = 262_144;
const CHUNKS = 16;
const ARTIFACT_BYTES = 300_000;

/** `number` makes its bytes differ from those of every other run; each third fails in its last step. */
export function knownRun(number: number): KnownRun {
  const name = `run${number}`;
  const fails = number % 3 === 2;
  const artifact = bytesOf(number + 1000, ARTIFACT_BYTES);
  const steps = [
    {
      name: 'sequence',
      script: `for (( i = 1; i <= ${JOB_LINES}; i++ )); do echo "${name} line $i"; if (( i % 100 == 0 )); then sleep 0.08; fi; done
printf '%0${LONG_LINE}d\\n' ${number}
echo "sum=${name}-sum" >> "$IMPGEM_OUTPUT"; echo "HANDED=${name}-env" >> "$IMPGEM_ENV"; echo "${name}-file" > kept.txt`,
      log: Buffer.from(`${lines(JOB_LINES, (i) => `${name} line ${i}`)}${String(number).padStart(LONG_LINE, '0')}\n`),
    },
    { name: 'binary', script: printBytes(number, BINARY_BYTES, 0.06), log: bytesOf(number, BINARY_BYTES) },
    {
      name: 'both-streams',
      script: `for i in {1..60}; do echo "${name} out $i"; echo "${name} err $i" >&2; sleep 0.015; done`,
      log: Buffer.from(lines(60, (i) => `${name} out ${i}\n${name} err ${i}`)),
    },
    {
      name: 'pieces',
      script: `for i in {1..40}; do printf '${name} piece %s ' $i; sleep 0.02; done`,
      log: Buffer.from(Array.from({ length: 40 }, (_, i) => `${name} piece ${i + 1} `).join('')),
    },
    {
      name: 'handed-on',
      env: `{ SUM: "\${{ steps.sequence.outputs.sum }}" }`,
      script: `echo "$SUM $HANDED $(cat kept.txt)"; ${printBytes(number + 1000, ARTIFACT_BYTES, 0.01)} > out.bin`,
      log: Buffer.from(`${name}-sum ${name}-env ${name}-file\n`),
      more: ', artifacts: [out.bin]',
    },
    {
      name: 'end',
      script: `echo "${name} ends"; sleep 0.3; exit ${fails ? 3 : 0}`,
      log: Buffer.from(`${name} ends\n`),
    },
  ];
  const texts = steps.map(
    ({ name: step, script, env, more }) =>
      `  - { name: ${step}, run: ${JSON.stringify(script)}${env === undefined ? '' : `, env: ${env}`}${more ?? ''} }\n`,
  );
  return {
    pipeline: `steps:\n${texts.join('')}`,
    state: fails ? 'failed' : 'succeeded',
    steps: steps.map(({ name: step, log }) => ({ name: step, log, exitCode: fails && step === 'end' ? 3 : 0 })),
    artifact: {
      path: 'out.bin',
      size: artifact.length,
      sha256: createHash('sha256').update(artifact).digest('hex'),
    },
  };
}

function lines(count: number, line: (number: number) => string): string {
  return Array.from({ length: count }, (_, index) => `${line(index + 1)}\n`).join('');
}

/** What printBytes prints: a linear congruential generator, every byte value, NUL and broken UTF-8 among them. */
function bytesOf(seed: number, count: number): Buffer {
  const bytes = Buffer.alloc(count);
  let state = seed;
  for (let at = 0; at < count; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    bytes[at] = (state >> 16) & 255;
  }
  return bytes;
}

function printBytes(seed: number, count: number, pause: number): string {
  const every = Math.floor(count / CHUNKS);
  return `perl -e '$| = 1; $x = ${seed}; for $i (1..${count}) { $x = ($x * 1103515245 + 12345) & 0x7fffffff; $b .= chr(($x >> 16) & 255); if ($i % ${every} == 0 || $i == ${count}) { print $b; $b = ""; select(undef, undef, undef, ${pause}) } }'`;
}
