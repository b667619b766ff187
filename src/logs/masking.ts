import { InputError } from '../errors.ts';
import { maskedForms } from './masked-forms.ts';

const MASK = Buffer.from('***');
const EMPTY = Buffer.alloc(0);
const SHORTEST = 3;
const LONGEST = 64 * 1024;

export interface Masker {
  /** Takes output as it comes and gives what may be shown now; the result may share memory with `bytes`. */
  push(bytes: Buffer): Buffer;
  /** Gives what was held back as the possible beginning of a secret; call it once, at the end. */
  flush(): Buffer;
}

/**
 * A secret that cannot be masked must not be handed to a step: InputError `secret-too-short` under 3 characters (spaces
 * around it do not count: masking it would hide half of every log), `secret-too-long` over 64 KiB.
 */
export function checkSecret(name: string, value: string): void {
  if (value.trim().length < SHORTEST) {
    throw new InputError(
      'secret-too-short',
      `Secret ${name} is shorter than ${SHORTEST} characters: too short to mask.`,
    );
  }
  if (Buffer.byteLength(value) > LONGEST) {
    throw new InputError('secret-too-long', `Secret ${name} is longer than ${LONGEST / 1024} KiB.`);
  }
}

/**
 * Replaces every occurrence of every form of the secrets (see `maskedForms`) by `***`. Occurrences that overlap or
 * touch become one `***`. What comes out depends on the whole stream only, never on how it was cut into pushes: after
 * a crash the output of a step is masked again from byte 0 and must give the same bytes.
 */
export function createMasker(secrets: string[]): Masker {
  for (const secret of secrets) checkSecret('value', secret);
  const table = createTable(secrets.flatMap(maskedForms));
  if (secrets.length === 0) return { push: (bytes) => bytes, flush: () => EMPTY };

  let held: Buffer = EMPTY;
  /** End of the latest masked stretch, relative to `held`; 0 is "the byte before was masked", -1 is "it was not". */
  let maskEnd = -1;

  const pass = (bytes: Buffer, final: boolean): Buffer => {
    const text = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    const pieces: Buffer[] = [];
    let shown = Math.max(maskEnd, 0);
    let keepFrom = text.length;
    for (let at = table.next(text, 0); at < text.length; at = table.next(text, at + 1)) {
      const { end, open } = table.match(text, at);
      if (open && !final) {
        // What starts here or behind is looked at again when more has come.
        keepFrom = at;
        break;
      }
      if (end <= maskEnd) continue;
      if (at > maskEnd) pieces.push(text.subarray(shown, at), MASK);
      shown = maskEnd = end;
    }
    if (shown < keepFrom) pieces.push(text.subarray(shown, keepFrom));
    held = keepFrom < text.length ? Buffer.from(text.subarray(keepFrom)) : EMPTY;
    maskEnd = maskEnd < keepFrom ? -1 : maskEnd - keepFrom;
    return pieces.length === 1 ? (pieces[0] ?? EMPTY) : Buffer.concat(pieces);
  };
  return { push: (bytes) => pass(bytes, false), flush: () => pass(EMPTY, true) };
}

interface Table {
  /** The first place at or after `from` where a form may begin, or the length. */
  next(text: Buffer, from: number): number;
  /** `end` of the longest form at `at` (-1: none); `open`: a longer one may begin here, the text is too short to tell. */
  match(text: Buffer, at: number): { end: number; open: boolean };
}

/** Two tables of pairs of bytes tell where a form may begin by its first three; few places of a text pass both. */
function createTable(forms: string[]): Table {
  const byPair = new Map<number, Buffer[]>();
  const byFirst = new Map<number, Buffer[]>();
  const pairs = new Uint8Array(1 << 16);
  const following = new Uint8Array(1 << 16);
  const add = (map: Map<number, Buffer[]>, key: number, form: Buffer) => {
    const list = map.get(key);
    if (list) list.push(form);
    else map.set(key, [form]);
  };
  for (const form of new Set(forms)) {
    const bytes = Buffer.from(form);
    const [first = 0, second = 0, third = 0] = bytes;
    pairs[(first << 8) | second] = 1;
    following[(second << 8) | third] = 1;
    add(byPair, (first << 8) | second, bytes);
    add(byFirst, first, bytes);
  }

  const next = (text: Buffer, from: number): number => {
    const end = text.length - 2;
    let second = text[from] ?? 0;
    let third = text[from + 1] ?? 0;
    for (let at = from; at < end; at++) {
      const first = second;
      second = third;
      third = text[at + 2] ?? 0;
      if (pairs[(first << 8) | second] === 1 && following[(second << 8) | third] === 1) return at;
    }
    // Of the last two bytes too little is known to pass over them.
    return Math.max(from, end);
  };
  const match = (text: Buffer, at: number): { end: number; open: boolean } => {
    const left = text.length - at;
    const first = text[at] ?? 0;
    const candidates = left < 2 ? byFirst.get(first) : byPair.get((first << 8) | (text[at + 1] ?? 0));
    let end = -1;
    let open = false;
    for (const form of candidates ?? []) {
      if (left > 2 && form[2] !== text[at + 2]) continue;
      const length = Math.min(form.length, left);
      if (text.compare(form, 0, length, at, at + length) !== 0) continue;
      if (length < form.length) open = true;
      else end = Math.max(end, at + length);
    }
    return { end, open };
  };
  return { next, match };
}
