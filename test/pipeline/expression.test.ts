import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { ExpressionError } from '../../src/pipeline/expression-ast.ts';
import {
  evaluateCondition,
  evaluateConditionNow,
  type ExpressionContext,
  interpolate,
  interpolateNow,
} from '../../src/pipeline/expression.ts';
import { pipelineEvent } from '../support/pipeline-event.ts';

const context: ExpressionContext = {
  matrix: { node: 22, os: 'linux', lts: true },
  env: { LEVEL: 'high', EMPTY: '' },
  event: pipelineEvent({ message: "it's ${{ run.id }}", author: 'ann' }),
  run: { id: 'r1', number: 7 },
  needs: { build: { result: 'succeeded', outputs: { version: '1.2', changed: 'false' } } },
  steps: { 'read it': { result: 'failed', outputs: { x: 'y' } } },
};

describe('values', () => {
  test.each([
    ['matrix.node', '22'],
    ['env.LEVEL', 'high'],
    ['event.branch', ''],
    ['event.author', 'ann'],
    ['run.number', '7'],
    ['needs.build.outputs.version', '1.2'],
    ["steps['read it'].outputs.x", 'y'],
    ["needs[format('{0}', 'build')].result", 'succeeded'],
    ['matrix.missing', ''],
    ['matrix.missing.deeper', ''],
    ['matrix.constructor', ''],
    ['event.__proto__', ''],
    ['event.message.length', ''],
    ["'it''s'", "it's"],
    ['-1.5', '-1.5'],
    ['null', ''],
    ['matrix', '{"node":22,"os":"linux","lts":true}'],
    ["matrix.lts && 'yes' || 'no'", 'yes'],
    ["env.EMPTY || 'other'", 'other'],
    ["format('{0}-{1}-{0} {{}} {9}', 'a', matrix.node)", 'a-22-a {} '],
    ["join(matrix.os, '+')", 'linux'],
    ["contains('abc', 'b')", 'true'],
    ["startsWith('abc', 'b')", 'false'],
    ["endsWith(event.ref, '/main')", 'true'],
  ])('%s is %j', (expression, expected) => {
    expect(interpolateNow(`\${{ ${expression} }}`, context)).toBe(expected);
  });

  test('text around expressions stays as it is', () => {
    expect(interpolateNow("a ${{ matrix.os }}}} ${{'}}'}} $HOME ${x} {{y}}", context)).toBe(
      'a linux}} }} $HOME ${x} {{y}}',
    );
  });

  test('what a stranger wrote is never read as an expression', () => {
    expect(interpolateNow('${{ event.message }}', context)).toBe("it's ${{ run.id }}");
  });
});

describe('conditions', () => {
  test.each([
    ['true', true],
    ['matrix.node == 22', true],
    ["matrix.node == '22'", true],
    ["matrix.node >= '9'", true],
    ["'10' > '9'", true],
    ["'a10' > 'a9'", false],
    ['1 < 2 == true', true],
    ["'3.10' == '3.1'", false],
    ["'007' != '7'", true],
    ["'10' > '9'", true],
    ["'1.0' == 1", true],
    ['matrix.node != 22', false],
    ['!env.EMPTY', true],
    ['!!env.LEVEL', true],
    ['needs.build.outputs.changed', false],
    ["needs.build.outputs.changed == 'false'", true],
    ['0', false],
    ["''", false],
    ['null == matrix.missing', true],
    ['false || true && false', false],
    ['(true || false) && true', true],
    ['always()', true],
    ['success()', true],
    ['failure()', false],
    ['${{ success() }}', true],
  ])('%s is %s', (text, expected) => {
    expect(evaluateConditionNow(text, context)).toBe(expected);
  });

  test('status functions know of a failure', () => {
    const failed = { ...context, status: { success: false, failure: true } };
    expect(evaluateConditionNow('failure() && !success() && always()', failed)).toBe(true);
  });
});

describe('mistakes', () => {
  test.each([
    '',
    '(',
    '1 +',
    'a',
    'matrix.',
    "'open",
    '"x"',
    'hash()',
    'contains(1)',
    '1 2',
    'matrix[',
    '=',
    '&',
    'eval(1)',
    '1)',
  ])('%s throws a sentence with a place', (text) => {
    const error = thrownBy(() => evaluateConditionNow(text, context));
    expect(error).toBeInstanceOf(ExpressionError);
    expect((error as ExpressionError).message).toMatch(/[.]$/);
  });

  test('nothing in a text is closed twice', () => {
    expect(() => interpolateNow('${{ 1', context)).toThrow('not closed');
    expect(() => evaluateConditionNow('${{ true }} && ${{ true }}', context)).toThrow('one `${{ }}`');
  });
});

describe('hash', () => {
  test('is asked for where the files are, and again for what depends on it', async () => {
    const asked: string[][] = [];
    const hash = (globs: string[]) => {
      asked.push(globs);
      return Promise.resolve(`h${asked.length}`);
    };
    const text = "npm-${{ hash('a', matrix.os) }}-${{ hash(hash('b')) }}-${{ false && hash('never') }}";
    expect(await interpolate(text, context, hash)).toBe('npm-h1-h4-false');
    expect(asked).toEqual([['a', 'linux'], ['b'], [''], ['h2']]);
    expect(await evaluateCondition("hash('a') != ''", context, hash)).toBe(true);
  });

  test('is empty where nobody can answer', async () => {
    expect(await interpolate("x${{ hash('a') }}", context)).toBe('x');
  });

  test('an error of the one who is asked comes through', async () => {
    await expect(interpolate("${{ hash('a') }}", context, () => Promise.reject(new Error('disk')))).rejects.toThrow(
      'disk',
    );
  });
});

describe('bounds', () => {
  test.each([
    ['length', 'x'.repeat(5000)],
    ['parentheses', '('.repeat(2000)],
    ['negations', `${'!'.repeat(2000)}true`],
    ['operators', `1${' || 1'.repeat(500)}`],
    ['path', `matrix${'.a'.repeat(100)}`],
    ['indexes', `${'matrix['.repeat(100)}1${']'.repeat(100)}`],
    ['calls', `${"format('{0}', ".repeat(100)}1${')'.repeat(100)}`],
  ])('too much %s is a mistake', (_, text) => {
    expect(thrownBy(() => evaluateConditionNow(text, context))).toBeInstanceOf(ExpressionError);
  });

  test('a result cannot grow without end', () => {
    const big = { ...context, env: { BIG: 'x'.repeat(60_000) } };
    expect(() => interpolateNow('${{ env.BIG }}${{ env.BIG }}', big)).toThrow('longer than');
    expect(() => interpolateNow("${{ format('{0}{0}', env.BIG) }}", big)).toThrow('longer than');
  });
});

describe('any text', () => {
  const fragment = fc.oneof(
    fc.constantFrom(
      'matrix',
      '.',
      '[',
      ']',
      '(',
      ')',
      "'",
      '!',
      '&&',
      '||',
      '==',
      '<',
      ',',
      'hash',
      'format',
      'env',
      ' ',
      '1',
      '-',
      '${{',
      '}}',
      '}',
    ),
    fc.string({ maxLength: 4 }),
  );
  const text = fc.array(fragment, { maxLength: 40 }).map((parts) => parts.join(''));

  test('gives a value or an ExpressionError', () => {
    fc.assert(
      fc.property(text, (given) => {
        for (const evaluate of [
          () => typeof evaluateConditionNow(given, context) === 'boolean',
          () => typeof interpolateNow(`\${{ ${given} }}`, context) === 'string',
          () => typeof interpolateNow(given, context) === 'string',
        ])
          expect(thrownBy(evaluate) ?? new ExpressionError('', 0)).toBeInstanceOf(ExpressionError);
      }),
      { numRuns: 2000 },
    );
  });

  test('text without an expression is itself', () => {
    fc.assert(
      fc.property(
        fc.string().filter((given) => !given.includes('${{')),
        (given) => {
          expect(interpolateNow(given, context)).toBe(given);
        },
      ),
    );
  });

  test('a quoted text is itself, whatever is in it', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (given) => {
        expect(interpolateNow(`\${{ '${given.replaceAll("'", "''")}' }}`, {})).toBe(given);
      }),
    );
  });
});

function thrownBy(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}
