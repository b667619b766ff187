import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Content, html, toText } from '../../src/web/html.ts';

test('what is put in is text, markup stays markup', () => {
  expect(toText(html`<b title="${`"'<>&`}">${'<i>'}</b>${html`<br>`}${[1, html`<hr>`]}${false}${undefined}`)).toBe(
    '<b title="&quot;&#39;&lt;&gt;&amp;">&lt;i&gt;</b><br>1<hr>',
  );
});

test('no text gets out of its place', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', 'a') }), (text) => {
      expect(toText(html`${text}`)).not.toMatch(/[<>"']/);
    }),
  );
});

test('JSON from outside cannot pose as markup', () => {
  const forged = JSON.parse('{"html":"<script>","markup":"<script>"}') as Content;
  expect(() => toText(html`${forged}`)).toThrow(TypeError);
});
