import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { readYaml } from '../../src/pipeline/read-yaml.ts';
import { placeOf } from '../../src/pipeline/yaml-source.ts';

const value = (text: string) => readYaml(text, 'f.yml').value;
const codes = (text: string) =>
  readYaml(text, 'f.yml').diagnostics.map(({ code, line, column }) => `${code} ${line}:${column}`);

describe('values', () => {
  test('a number or truth is one only if it prints as it was written', () => {
    expect(
      value('[1, 1.5, -3, 3.10, 007, 1e3, 0x1F, .inf, 12345678901234567890, true, True, no, ~, null, "1"]'),
    ).toEqual([
      1,
      1.5,
      -3,
      '3.10',
      '007',
      '1e3',
      '0x1F',
      '.inf',
      '12345678901234567890',
      true,
      'True',
      'no',
      null,
      null,
      '1',
    ]);
  });

  test('what is quoted or tagged as text is text', () => {
    expect(value(`- "1"\n- 'true'\n- "null"\n- ""\n- !!str 5\n- !!str null\n- !!str\n- >-\n  7\n-`)).toEqual([
      '1',
      'true',
      'null',
      '',
      '5',
      'null',
      '',
      '7',
      null,
    ]);
    expect(value('[-0, 1e+21, 0.1, .5, 5., +5, 1_000, 0o17, Infinity, NaN, -1.5, 9007199254740993]')).toEqual([
      '-0',
      1e21,
      0.1,
      '.5',
      '5.',
      '+5',
      '1_000',
      '0o17',
      'Infinity',
      'NaN',
      -1.5,
      '9007199254740993',
    ]);
  });

  test('block texts, CRLF and a byte order mark', () => {
    expect(value('\uFEFFa: |\r\n  one\r\n  two\r\nb: >\r\n  x\r\n  y\r\n')).toEqual({ a: 'one\ntwo\n', b: 'x y\n' });
  });

  test('aliases, also of keys, of values that are given again, and in lists', () => {
    expect(value('a: &x 1\nb: *x\nc: &x 2\nd: *x\n&k e: 3\nf: [*k]')).toEqual({
      a: 1,
      b: 1,
      c: 2,
      d: 2,
      e: 3,
      f: ['e'],
    });
  });

  test('merge keys: own keys win, then the first map; quoted they are a key as any', () => {
    expect(value('a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}\nd: {"<<": 1}')).toMatchObject({
      c: { x: 1, y: 1, z: 3 },
      d: { '<<': 1 },
    });
  });

  test('no key reaches a prototype', () => {
    const read = value('a: &a {__proto__: {polluted: 1}, constructor: 2}\nb: {<<: *a}');
    expect(Object.getPrototypeOf((read as { b: object }).b)).toBe(Object.prototype);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(codes('a: {__proto__: 1}')).toEqual(['key-forbidden 1:5']);
  });
});

describe('mistakes', () => {
  test.each([
    ['a: 1\na: 2', ['duplicate-key 2:1']],
    ['a: {b: 1, b: 2}\na: 1', ['duplicate-key 1:11', 'duplicate-key 2:1']],
    ['a:\n\tb: 1', ['yaml-syntax 2:1']],
    ['a: *b', ['alias-unknown 1:4']],
    ['a: &a [*a]', ['alias-recursive 1:8']],
    ['? [a]\n: 1', ['key-not-text 1:3']],
    ['~: 1', ['key-not-text 1:1']],
    ['a: !main', ['yaml-tag 1:4']],
    ['a: !!binary aGk=\nb: !!int "5"', ['yaml-tag 1:4', 'yaml-tag 2:4']],
    ['a: !!set {b}\nc: !!omap [d: 1]', ['yaml-tag 1:4', 'yaml-tag 2:4']],
    ['null: 1\n"null": 2\n: 3', ['key-not-text 1:1', 'key-not-text 3:1']],
    ['a: 1\n---\nb: 1', ['yaml-documents 2:1']],
    ['<<: 1', ['merge-not-map 1:5']],
    ['"a', ['yaml-syntax 1:3']],
    ['%YAML 9.9\n---\na: 1', ['yaml-syntax 1:7']],
  ])('%j', (text, expected) => {
    expect(codes(text)).toEqual(expected);
  });

  test('no sentence is longer than a line, whatever the file says', () => {
    const { diagnostics } = readYaml('!'.repeat(5000), 'f.yml');
    expect(diagnostics.length).toBeGreaterThan(0);
    for (const { message } of diagnostics) expect(message.length).toBeLessThan(200);
  });
});

describe('places', () => {
  const text = 'base: &b\n  x: 1\njob:\n  <<: *b\n  list: [a, {k: v}]\n';
  const source = readYaml(text, 'f.yml');
  const place = (path: (string | number)[], what: 'key' | 'value') => {
    const span = source.locate(path, what);
    return span && `${placeOf(text, span).line}:${placeOf(text, span).column}`;
  };

  test('of values, of keys, of what came by a merge', () => {
    expect(place([], 'value')).toBe('1:1');
    expect(place(['job', 'list', 0], 'value')).toBe('5:10');
    expect(place(['job', 'list', 1, 'k'], 'key')).toBe('5:14');
    expect(place(['job', 'list', 1, 'k'], 'value')).toBe('5:17');
    expect(place(['job', 'x'], 'value')).toBe('2:6');
    expect(place(['job', 'nothing'], 'value')).toBeUndefined();
    expect(place(['job', 'list', 7], 'value')).toBeUndefined();
  });
});

test('a place is found when the tree of the document is gone', async () => {
  setFlagsFromString('--expose-gc');
  const source = readYaml('x-a: &a { run: make }\nsteps: [*a]', 'file');
  const path = ['steps', 0, 'run'];
  const before = source.locate(path, 'value');
  await new Promise(setImmediate);
  runInNewContext('gc()');
  expect(source.locate(path, 'value')).toEqual(before);
  expect(before).toEqual({ start: 15, end: 19 });
});
