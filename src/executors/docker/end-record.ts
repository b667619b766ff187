/**
 * The end of a step stands in its output: the entry process prints a record after the script's last byte. So one ordered
 * stream says both what was printed and how it ended, and the end is known without asking the engine. The record bears a
 * nonce that a script does not know unless it goes and looks; one that forges it lies about itself alone.
 */
const MARK = '\u0001\u0001impgem-end:';
const END = /^(\d{1,3}):(-?\d{1,7})\n/;
const BEGINS_END = /^(\d{0,3}|\d{1,3}:-?\d{0,7})$/;
const LONGEST_END = 13;

/** As the shell's printf prints it; the first `%s` is the exit code, the second the number of processes left over. */
export function endRecordFormat(nonce: string): string {
  return `\\001\\001impgem-end:${nonce}:%s:%s\\n`;
}

export interface StepEnd {
  code: number;
  /** The script left processes behind. */
  leftovers: boolean;
}

export interface EndRecordSplitter {
  /** Gives what is the script's own output, and the end once its record has come. */
  push(bytes: Buffer): { output: Buffer; end?: StepEnd };
  /** What was held back because it might have begun a record. */
  rest(): Buffer;
}

export function createEndRecordSplitter(nonce: string): EndRecordSplitter {
  const prefix = Buffer.from(`${MARK}${nonce}:`, 'latin1');
  let held: Buffer = Buffer.alloc(0);
  return {
    push(bytes) {
      let data = held.length > 0 ? Buffer.concat([held, bytes]) : bytes;
      held = Buffer.alloc(0);
      for (let from = 0; ;) {
        const start = data.indexOf(prefix, from);
        if (start < 0) break;
        const tail = data.subarray(start + prefix.length, start + prefix.length + LONGEST_END).toString('latin1');
        const match = END.exec(tail);
        const output = data.subarray(0, start);
        if (match) return { output, end: { code: Number(match[1]) & 255, leftovers: Number(match[2]) > 0 } };
        if (BEGINS_END.test(tail)) {
          held = Buffer.from(data.subarray(start));
          return { output };
        }
        from = start + 1;
      }
      const partial = lengthOfPartial(data, prefix);
      if (partial > 0) {
        held = Buffer.from(data.subarray(data.length - partial));
        data = data.subarray(0, data.length - partial);
      }
      return { output: data };
    },
    rest: () => {
      const rest = held;
      held = Buffer.alloc(0);
      return rest;
    },
  };
}

/** Length of the longest end of `data` that begins `prefix`. */
function lengthOfPartial(data: Buffer, prefix: Buffer): number {
  for (let length = Math.min(prefix.length - 1, data.length); length > 0; length--)
    if (data.subarray(data.length - length).equals(prefix.subarray(0, length))) return length;
  return 0;
}
