import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLogPainter, LINE_LIMIT, paintLines } from '../../src/web/log-painter.ts';

test.each([
  ['plain', ['plain']],
  ['one\ntwo\n', ['one', 'two']],
  ['\n\n', ['', '']],
  ['dos\r\nline\r\n', ['dos', 'line']],
  ['10%\r50%\r100%\n', ['100%']],
  [
    '\x1b[31mred\nstill\x1b[0m off',
    ['<span class="ansi-red-fg">red</span>', '<span class="ansi-red-fg">still</span> off'],
  ],
  ['\x1b[38;5;208mx', ['<span style="color:rgb(255,135,0)">x</span>']],
  ['<img src=x onerror=alert(1)>', ['&lt;img src=x onerror=alert(1)&gt;']],
  ['\x1b]8;;https://example.org/\x07link\x1b]8;;\x07', ['<a href="https://example.org/">link</a>']],
  ['\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07', ['']],
  ['\x1b]8;;constructor:x\x07link\x1b]8;;\x07', ['']],
  ['\x1b]8;;https://x/"onclick="y\x07link\x1b]8;;\x07', ['<a href="https://x/&quot;onclick=&quot;y">link</a>']],
  ['\x1b]0;title\x07text', ['text']],
  ['\x1b[2J\x1b[Htext', ['text']],
  ['torn \x1b[3\nnext', ['torn [3', 'next']],
  ['bell \x07 nul \x00', ['bell ␇ nul ␀']],
])('%j', (text, lines) => {
  expect(paintLines(text)).toEqual(lines);
});

test('a line of 10 MB is cut and says so', () => {
  const [line, next] = paintLines(`${'x'.repeat(10_000_000)}\nnext`);
  expect(line).toMatch(/^x{10000}<span class="cut-line">/);
  expect(next).toBe('next');
});

test('a long line that comes in pieces is cut once', () => {
  const painter = createLogPainter();
  const html = Array.from({ length: 5 }, () => painter.paint('y'.repeat(LINE_LIMIT / 2)))
    .flat()
    .map((piece) => piece.html)
    .join('');
  expect(html.match(/y/g)).toHaveLength(LINE_LIMIT);
  expect(html.match(/cut-line/g)).toHaveLength(1);
});

test('a flood of carriage returns costs no more than its length', () => {
  expect(paintLines(`a${'\r'.repeat(1_000_000)}`)).toEqual(['a']);
  expect(paintLines('a\r'.repeat(500_000) + 'b')).toEqual(['b']);
});

/** Lines as the page has them after these pieces of text. */
function linesOf(texts: string[]): string[] {
  const painter = createLogPainter();
  const lines: string[] = [];
  let open: string | undefined;
  for (const piece of texts.flatMap((text) => painter.paint(text))) {
    open = piece.replace ? piece.html : (open ?? '') + piece.html;
    if (!piece.end) continue;
    lines.push(open);
    open = undefined;
  }
  return open === undefined ? lines : [...lines, open];
}

const word = fc.constantFrom(
  'a',
  '<b>',
  '\n',
  '\r',
  '\r\n',
  '\x1b[31m',
  '\x1b[0m',
  '\x1b[1',
  '\x1b',
  '&',
  '💎',
  '\x1b]8;;',
  '\x07',
);
/** Text apart from markup: where a span ends and the next begins depends on how the text came. */
const textOf = (lines: string[]) => lines.map((line) => line.replace(/<\/?span[^>]*>/g, ''));

test('how the text was cut does not change what is read', () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 30 }), fc.array(fc.nat(200), { maxLength: 4 }), (words, cuts) => {
      const text = words.join('');
      const at = [...cuts.map((cut) => Math.min(cut, text.length)), 0, text.length].sort((a, b) => a - b);
      const pieces = at.slice(1).map((end, index) => text.slice(at[index], end));
      // What a sequence that never ends hides is only known at the end of its line.
      expect(textOf(linesOf([...pieces, '\n']))).toEqual(textOf(linesOf([`${text}\n`])));
    }),
    { numRuns: 2000 },
  );
});

test('nothing but our own elements comes out', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(word, fc.string({ unit: 'binary' })), { maxLength: 20 }), (words) => {
      const html = paintLines(words.join('')).join('\n');
      const rest = html.replace(
        /<span( style="[-a-z:0-9(),;.]*")?( class="[-a-z ]*")?>|<\/span>|<a href="https?:[^"<>]*">|<\/a>/g,
        '',
      );
      expect(rest).not.toMatch(/[<>]/);
    }),
    { numRuns: 500 },
  );
});
