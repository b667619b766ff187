import { describe, expect, test } from 'vitest';
import type { Diagnostic } from '../../src/pipeline/diagnostic.ts';
import { firstLine, renderDiagnostics } from '../../src/pipeline/render-diagnostics.ts';

const one = (given: Partial<Diagnostic> = {}): Diagnostic => ({
  code: 'unknown-key',
  severity: 'error',
  message: 'There is no `imge`.',
  file: 'f.yml',
  line: 2,
  column: 3,
  endColumn: 7,
  ...given,
});

describe('renderDiagnostics', () => {
  test('shows the line, the place and what to write instead', () => {
    const text = renderDiagnostics([one({ hint: 'Did you mean `image`?', docs: 'docs/x.md' })], {
      'f.yml': 'a:\n  imge: x\n',
    });
    expect(text).toBe(
      [
        'error[unknown-key]: There is no `imge`.',
        ' --> f.yml:2:3',
        '  |',
        '2 |   imge: x',
        '  |   ^^^^',
        '  = help: Did you mean `image`?',
        '  = see docs/x.md',
        '',
      ].join('\n'),
    );
  });

  test('errors come before warnings, then files and lines in order', () => {
    const text = renderDiagnostics(
      [one({ severity: 'warning', line: 1 }), one({ file: 'g.yml' }), one({ line: 9 }), one()],
      {},
    );
    expect(text.match(/--> .*/g)).toEqual(['--> f.yml:2:3', '--> f.yml:9:3', '--> g.yml:2:3', '--> f.yml:1:3']);
  });

  test('cuts a long line to what is around the place', () => {
    const source = `${'x'.repeat(5000)}HERE${'y'.repeat(5000)}`;
    const text = renderDiagnostics([one({ line: 1, column: 5001, endColumn: 5005 })], { 'f.yml': source });
    const [, , , line = '', carets = ''] = text.split('\n');
    expect(line.length).toBeLessThan(140);
    expect(line.slice(carets.indexOf('^'), carets.lastIndexOf('^') + 1)).toBe('HERE');
  });

  test('sends no control character of a file to a terminal', () => {
    const source = 'a\n  \u001B]0;title\u0007\u009B31m\u202E\r';
    const text = renderDiagnostics([one({ message: 'say \u001B[31m', hint: '\u0007' })], { 'f.yml': source });
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\u202E]/u);
  });

  test('colours only when asked to', () => {
    expect(renderDiagnostics([one()], {})).not.toContain('\u001B');
    expect(renderDiagnostics([one()], {}, { color: true })).toContain('\u001B[31merror');
  });
});

describe('firstLine', () => {
  test('is the first error as a description of a status', () => {
    expect(firstLine([one({ severity: 'warning', line: 1 }), one()])).toBe('f.yml:2: There is no `imge`.');
    expect(firstLine([])).toBe('');
  });

  test('has at most 140 characters, and no half one', () => {
    const long = firstLine([one({ message: '😀'.repeat(300) })]);
    expect(Array.from(long).length).toBe(140);
    expect(long.endsWith('😀…')).toBe(true);
  });
});
