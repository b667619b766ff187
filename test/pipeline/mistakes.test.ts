import { expect, test } from 'vitest';
import { parsePipeline } from '../../src/pipeline/parse.ts';
import { planText } from './plan-text.ts';

function codes(text: string): string[] {
  return parsePipeline(text, 'f.yml').diagnostics.map(({ code, line }) => `${code} ${line}`);
}

test('an empty script hides no other mistake', () => {
  const text = 'steps:\n  - { name: a, run: "", needs: z }\n  - { name: b, run: [], working-directory: /etc }';
  expect(codes(text)).toEqual(['value-invalid 2', 'empty 3', 'need-unknown 2', 'path-outside 3']);
});

test('what no program can be given is refused', () => {
  const text = 'env: { A: "\\0" }\nsteps:\n  - run: "a\\0b"\n    env: { B: "x\\0" }\n  - run: [a, "\\0"]';
  expect(codes(text)).toEqual(['value-invalid 1', 'value-invalid 3', 'value-invalid 4', 'value-invalid 5']);
});

test('artifacts are kept for a hundred years at most', () => {
  const keep = (expire: string) => codes(`steps: [{ run: make, artifacts: { paths: a, expire: ${expire} } }]`);
  expect(keep('36500d')).toEqual([]);
  expect(keep('36501d')).toEqual(['value-invalid 1']);
  expect(keep('200000000d')).toEqual(['value-invalid 1']);
});

test('no value of a matrix is an expression', () => {
  const matrix = (text: string) => codes(`jobs:\n  a:\n    matrix: { a: [1], ${text} }\n    steps: [{ run: make }]`);
  const value = '"${{ event.sha }}"';
  expect(matrix(`b: [${value}]`)).toEqual(['expression-place 3']);
  expect(matrix(`include: [{ a: 1, b: ${value} }]`)).toEqual(['expression-place 3']);
  expect(matrix(`exclude: [{ a: ${value} }]`)).toEqual(['expression-place 3']);
});

test('conditions that are joined must stay one that can be read', () => {
  const when = (count: number, text: string) =>
    `steps: [{ run: make, when: [${Array.from({ length: count }, (_, index) => `{ if: "env.A == '${text}${index}'" }`).join(', ')}] }]`;
  expect(planText(when(41, '')).diagnostics).toEqual([]);
  expect(planText(when(42, '')).diagnostics).toMatchObject([{ code: 'expression-invalid', line: 1 }]);
  expect(planText(when(30, 'x'.repeat(200))).diagnostics).toMatchObject([{ code: 'expression-invalid', line: 1 }]);
});

test('memory is a number of bytes or a size', () => {
  const memory = (size: string) =>
    planText(`steps: [{ run: make, limits: { memory: ${size} } }]`).plan?.jobs[0]?.steps[0]?.limits.memory;
  expect([memory('8388608'), memory('"8388608"'), memory('8m'), memory('8M')]).toEqual(Array(4).fill(8388608));
  for (const wrong of ['0', '-1', '1.5', '1t', '1e3', 'true', '9999999999999999'])
    expect(codes(`steps: [{ run: make, limits: { memory: ${wrong} } }]`)).toHaveLength(1);
});

test('limits below what any engine starts a container with are refused', () => {
  const step = (limits: string) => planText(`steps: [{ run: make, limits: { ${limits} } }]`).diagnostics;
  expect(step('memory: 6m, cpu: 0.01, pids: 1')).toEqual([]);
  expect(step('memory: 5m')).toMatchObject([
    { code: 'value-invalid', message: '`5m` of memory is too little for any step; 6m is the least.', line: 1 },
  ]);
  expect(step('cpu: 0.001')).toMatchObject([{ message: expect.stringContaining('from 0.01 to 1024') as string }]);
  expect(codes('defaults: { step: { limits: { memory: 1k } } }\nsteps: [{ run: make }]')).toEqual(['value-invalid 1']);
});

test.each([
  'depends_on',
  'skip_clone',
  'interruptible',
  'resource_group',
  'workflow',
  'permissions',
  'stages',
  'on',
  'settings',
])('`%s` of another system is answered by what to write here', (key) => {
  const [diagnostic] = parsePipeline(`steps: [{ run: make }]\n${key}: x`, 'f.yml').diagnostics;
  expect(diagnostic).toMatchObject({ code: 'unknown-key', line: 2 });
  expect(diagnostic?.hint).not.toMatch(/Known keys|Did you mean/);
});
