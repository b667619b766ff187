/**
 * How many bytes at the end begin a UTF-8 character that is not complete yet (0 to 3). Bytes that cannot begin one are
 * not held back: they become U+FFFD wherever they stand.
 */
export function incompleteTail(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte >= 0xc2 && byte <= 0xf4) {
      const whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return back < whole && validStart(bytes, bytes.length - back, back) ? back : 0;
    }
    if (byte >= 0xc0) return 0;
  }
  return 0;
}

/** The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF: such a start is never completed. */
function validStart(bytes: Buffer, at: number, have: number): boolean {
  if (have < 2) return true;
  const lead = bytes[at] as number;
  const second = bytes[at + 1] as number;
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  return second >= low && second <= high;
}
