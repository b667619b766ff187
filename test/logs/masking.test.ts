import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { checkSecret, createMasker } from '../../src/logs/masking.ts';
import { maskedForms } from '../../src/logs/masked-forms.ts';

function mask(secrets: string[], text: string | Buffer, cuts: number[] = []): string {
  const bytes = Buffer.from(text);
  const masker = createMasker(secrets);
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  const pieces = [0, ...places].map((from, n) => bytes.subarray(from, places[n] ?? bytes.length));
  return Buffer.concat([...pieces.map((piece) => masker.push(piece)), masker.flush()]).toString('latin1');
}

/** What must come out, worked out the slow way: every byte that any form covers is hidden. */
function expected(secrets: string[], text: Buffer): string {
  const hidden = new Uint8Array(text.length);
  for (const form of secrets.flatMap(maskedForms).map((value) => Buffer.from(value))) {
    for (let at = text.indexOf(form); at !== -1; at = text.indexOf(form, at + 1)) hidden.fill(1, at, at + form.length);
  }
  let out = '';
  for (const [at, byte] of text.entries()) {
    if (!hidden[at]) out += String.fromCharCode(byte);
    else if (at === 0 || !hidden[at - 1]) out += '***';
  }
  return out;
}

const SECRET = 'hunter2-x+y/z';
const PEM = `-----BEGIN KEY-----\n${'MIIBVgIBADANBgkqhkiG9w0BAQEFAASC'.repeat(2)}\nq83vEjRWeJA=\n-----END KEY-----\n`;

describe('createMasker', () => {
  it.each([
    ['plain', SECRET],
    ['base64', Buffer.from(SECRET).toString('base64')],
    ['base64 as echo makes it', Buffer.from(`${SECRET}\n`).toString('base64')],
    ['base64url', Buffer.from(SECRET).toString('base64url')],
    ['URL-encoded', encodeURIComponent(SECRET)],
    ['URL-encoded, lower case', encodeURIComponent(SECRET).toLowerCase()],
  ])('hides a secret: %s', (_, form) => {
    expect(mask([SECRET], `a ${form} b`)).toBe('a *** b');
  });

  it.each([0, 1, 2, 3, 4])('hides what of the secret is in base64 with %i bytes before it', (before) => {
    const secret = 'correct horse battery';
    const encoded = Buffer.from(`${'u:xy'.slice(0, before)}${secret}:tail`).toString('base64');
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor(((before + secret.length) * 8) / 6);
    expect(mask([secret], encoded)).toBe(`${encoded.slice(0, from)}***${encoded.slice(to)}`);
  });

  it('hides a long secret in base64 that is broken into lines', () => {
    const secret = 'k'.repeat(50) + '0123456789'.repeat(10);
    const encoded = Buffer.from(secret).toString('base64');
    for (const width of [64, 76]) {
      const lines = encoded.replace(new RegExp(`.{${width}}`, 'g'), '$&\n');
      expect(mask([secret], lines)).toBe(lines.replace(/[^\n]+/g, '***'));
    }
  });

  it.each([
    ['JSON', 'pass"word\\1', JSON.stringify('pass"word\\1')],
    ['bash -x', "it's me", `'it'\\''s me'`],
  ])('hides a secret as %s prints it', (_, secret, printed) => {
    expect(mask([secret], printed)).toBe(`${printed[0]}***${printed.at(-1)}`);
  });

  it('hides each long line of a secret of several lines, and no short one', () => {
    const json = '{\n  "token": "abcdefgh"\n}';
    expect(mask([json], 'x { y }\n"token": "abcdefgh"')).toBe('x { y }\n***');
    const lines = PEM.trim().split('\n');
    expect(mask([PEM], lines.map((line) => `> ${line}\r\n`).join(''))).toBe('> ***\r\n'.repeat(lines.length));
    expect(mask([PEM], PEM)).toBe('***\n');
  });

  it('hides overlapping secrets wholly', () => {
    expect(mask(['abcdef', 'defghi'], '-abcdefghi-')).toBe('-***-');
    expect(mask(['abc', 'abcdef'], 'abcde abcdef')).toBe('***de ***');
    expect(mask(['aaa'], 'aaaaa')).toBe('***');
  });

  it('hides bytes next to bytes that are not UTF-8', () => {
    const text = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from('naïve-pässword'), Buffer.from([0xc3])]);
    expect(mask(['naïve-pässword'], text)).toBe('\xff\xfe***\xc3');
  });

  it('gives what any cut into pushes gives', () => {
    const piece = fc.constantFrom('abc', 'abcabd', 'cab', 'YWJj', 'a', 'b', '\n', 'ab"c', '%20', 'bca bc');
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('abcab', 'cabca', 'aba', 'ab"c x', 'b c\nabcabc\n'), { minLength: 1, maxLength: 3 }),
        fc.array(piece, { maxLength: 30 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (secrets, pieces, cuts) => {
          const text = Buffer.from(pieces.join(''));
          expect(mask(secrets, text, cuts)).toBe(expected(secrets, text));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('lets any bytes pass that hold no secret', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat(), { maxLength: 8 }), (bytes, cuts) => {
        const text = Buffer.from(bytes);
        const secrets = ['~never~there~'];
        expect(mask(secrets, text, cuts)).toBe(text.toString('latin1'));
      }),
    );
  });

  it('holds back only what may be the beginning of a secret', () => {
    const masker = createMasker(['password1']);
    expect(masker.push(Buffer.from('50% done ')).toString()).toBe('50% done ');
    expect(masker.push(Buffer.from('then pass')).toString()).toBe('then ');
    expect(masker.push(Buffer.from('port')).toString()).toBe('passport');
    expect(masker.push(Buffer.from('password1pass')).toString()).toBe('***');
    expect(masker.push(Buffer.from('word1')).toString()).toBe('');
    expect(masker.push(Buffer.from('!pas')).toString()).toBe('!');
    expect(masker.flush().toString()).toBe('pas');
  });

  it('passes everything through when there are no secrets', () => {
    const bytes = Buffer.from('anything');
    expect(createMasker([]).push(bytes)).toBe(bytes);
  });

  it('is not led astray by a caller that reuses its buffer', () => {
    const masker = createMasker(['secret']);
    const bytes = Buffer.from('x sec');
    masker.push(bytes);
    bytes.fill(0);
    expect(masker.push(Buffer.from('ret')).toString()).toBe('***');
  });
});

describe('checkSecret', () => {
  it.each(['', 'a', 'ab', '  ab  ', '\n\n\n\n'])('refuses %j: too short to mask', (value) => {
    expect(() => checkSecret('TOKEN', value)).toThrow(InputError);
    expect(() => checkSecret('TOKEN', value)).toThrow(/TOKEN/);
    expect(() => createMasker([value])).toThrow(InputError);
  });

  it('refuses what is too long, and never repeats the value', () => {
    const long = 'q'.repeat(64 * 1024 + 1);
    expect(() => checkSecret('TOKEN', long)).toThrow(expect.objectContaining({ code: 'secret-too-long' }));
    expect(() => checkSecret('TOKEN', 'zy')).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('zy') }),
    );
    expect(() => checkSecret('TOKEN', 'abc')).not.toThrow();
  });
});
