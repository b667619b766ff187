import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HANDOVER_LIMIT } from '../../src/executors/executor.ts';
import { cut, MAX_VARIABLE_BYTES, parseHandover } from '../../src/worker/handover.ts';

const parse = (files: Partial<Parameters<typeof parseHandover>[0]>) =>
  parseHandover({ env: '', output: '', path: '', summary: '', ...files });

describe('$IMPGEM_ENV and $IMPGEM_OUTPUT', () => {
  it('take NAME=value and here-documents', () => {
    const { env, problems } = parse({
      env: 'A=1\n\nB=x=y<<z\nTEXT<<END\none\n A=2 \nEND\nC=\nD<<E=F\nin\nE=F\nlast=no newline',
    });
    expect(problems).toEqual([]);
    expect(Object.fromEntries(env)).toEqual({
      A: '1',
      B: 'x=y<<z',
      TEXT: 'one\n A=2 ',
      C: '',
      D: 'in',
      last: 'no newline',
    });
  });

  it('keep the last of two values, and an empty here-document', () => {
    expect(Object.fromEntries(parse({ env: 'A=1\nA=2\nB<<E\nE\n' }).env)).toEqual({ A: '2', B: '' });
  });

  it.each([
    ['rubbish', '$IMPGEM_ENV, line 2: "rubbish" is neither NAME=value nor NAME<<END'],
    ['A B=1', '$IMPGEM_ENV, line 2: "A B" is not a name of a variable (letters, digits, _)'],
    ['=1', '$IMPGEM_ENV, line 2: "" is not a name of a variable (letters, digits, _)'],
    ['1A=1', '$IMPGEM_ENV, line 2: "1A" is not a name of a variable (letters, digits, _)'],
    ['PATH=/evil', '$IMPGEM_ENV, line 2: PATH is changed through $IMPGEM_PATH, one folder a line'],
    ['CI_REPO=x', '$IMPGEM_ENV, line 2: CI_REPO is set by Imp Gem; names with CI_ and IMPGEM_ are not for steps'],
    ['IMPGEM_RUN=x', '$IMPGEM_ENV, line 2: IMPGEM_RUN is set by Imp Gem; names with CI_ and IMPGEM_ are not for steps'],
    ['CI=false', '$IMPGEM_ENV, line 2: CI is set by Imp Gem; names with CI_ and IMPGEM_ are not for steps'],
    ['T<<END\nx', '$IMPGEM_ENV, line 2: the end word "END" never comes'],
    ['T<<\nx', '$IMPGEM_ENV, line 2: T<< names no end word'],
    ['A=a\0b', '$IMPGEM_ENV, line 2: the value of A holds a NUL byte'],
    ['A=a\udfffb', '$IMPGEM_ENV, line 2: the value of A is no UTF-8'],
    ['A\udfff=a', '$IMPGEM_ENV, line 2: "A?" is not a name of a variable (letters, digits, _)'],
    ['\u001b[31m\r', '$IMPGEM_ENV, line 2: "?[31m?" is neither NAME=value nor NAME<<END'],
    [`A=${'x'.repeat(MAX_VARIABLE_BYTES + 1)}`, `the value of A has ${MAX_VARIABLE_BYTES + 1} bytes`],
  ])('say which line is bad: %j', (line, message) => {
    const { env, problems } = parse({ env: `GOOD=1\n${line}\n` });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(message);
    expect(env.get('GOOD')).toBe('1');
  });

  it('have outputs with a dash, and no prototype', () => {
    const { outputs, env } = parse({ output: 'my-output=1\n__proto__=x\n', env: '__proto__=y\nconstructor=z\n' });
    expect([...outputs]).toEqual([
      ['my-output', '1'],
      ['__proto__', 'x'],
    ]);
    expect([...env.keys()]).toEqual(['__proto__', 'constructor']);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  it('are bounded', () => {
    const { problems } = parse({ output: `a=1\n${'#'.repeat(HANDOVER_LIMIT)}` });
    expect(problems[0]).toBe(`$IMPGEM_OUTPUT holds ${HANDOVER_LIMIT} bytes or more; it must be smaller`);
    expect(parse({ env: 'bad\n'.repeat(1000) }).problems.length).toBeLessThanOrEqual(20);
  });
});

describe('$IMPGEM_PATH', () => {
  it('puts the last folder first, each once', () => {
    expect(parse({ path: '/a\n~/bin\n/a\n' }).path).toEqual(['/a', '/impgem/home/bin']);
  });

  it.each(['bin', './bin', '/a:/b', '/a\0', '/a\udfff'])('refuses %j', (line) => {
    const { path, problems } = parse({ path: `${line}\n` });
    expect(path).toEqual([]);
    expect(problems[0]).toMatch(/^\$IMPGEM_PATH, line 1: /);
  });
});

describe('$IMPGEM_SUMMARY', () => {
  it('shows what is no UTF-8 as such, and fails nothing', () => {
    expect(parse({ summary: '# \udfff ü' })).toMatchObject({ summary: '# \ufffd ü', problems: [] });
  });
});

describe('any text', () => {
  it('is read without a throw, and every name and value that comes out is fit for an environment', () => {
    const text = fc.string({
      unit: fc.constantFrom('A', 'b', '1', '_', '=', '<', '\n', ' ', '\0', '\r', 'é', '-', '/'),
    });
    fc.assert(
      fc.property(text, text, text, (env, output, path) => {
        const handed = parse({ env, output, path });
        for (const [name, value] of handed.env) {
          expect(name).toMatch(/^[A-Za-z_][A-Za-z0-9_]*$/);
          expect(value).not.toContain('\0');
        }
        for (const folder of handed.path) expect(folder).toMatch(/^\/[^:\0\n]*$/);
      }),
    );
  });

  it('comes back as it was written, whatever the value', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z][A-Za-z0-9_]{0,20}$/), fc.string({ unit: 'binary' }), (name, value) => {
        fc.pre(!/^(CI|IMPGEM)(_|$)|^PATH$/.test(name) && !value.includes('\0') && !value.split('\n').includes('_END_'));
        expect(parse({ env: `${name}<<_END_\n${value}\n_END_\n` }).env.get(name)).toBe(value);
        if (!value.includes('\n')) expect(parse({ env: `${name}=${value}\n` }).env.get(name)).toBe(value);
      }),
    );
  });

  it('is cut between characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(40), (text, bytes) => {
        const short = cut(text, bytes);
        expect(Buffer.byteLength(short)).toBeLessThanOrEqual(Math.max(bytes, 0));
        expect(text.startsWith(short)).toBe(true);
      }),
    );
  });
});
