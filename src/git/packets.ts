/**
 * The part of git's protocol version 2 that asks for one commit and takes its pack: packets of four hexadecimal digits
 * (their length, those included) and bytes. Source: gitprotocol-common(5), gitprotocol-v2(5). Pure.
 */

const FLUSH = '0000';
const DELIMITER = '0001';
const HEAD = 4;
/** First byte of a packet of the pack's section. */
const BAND = { data: 1, progress: 2, error: 3 };

/** Body of a request for a commit (or tag) by its id. `haves`: commits that are here with all that they reach. */
export function fetchRequest(want: string, haves: string[]): string {
  return [
    packet('command=fetch'),
    packet('agent=impgem'),
    packet(`object-format=${want.length === 64 ? 'sha256' : 'sha1'}`),
    DELIMITER,
    ...['thin-pack', 'no-progress', 'ofs-delta'].map(packet),
    packet(`want ${want}`),
    ...haves.map((have) => packet(`have ${have}`)),
    packet('done'),
    FLUSH,
  ].join('');
}

/** ASCII only. */
function packet(line: string): string {
  return `${(line.length + HEAD + 1).toString(16).padStart(HEAD, '0')}${line}\n`;
}

/** The pack in the answer to such a request. Throws Error for an answer of another shape, a cut one, and what the server says is wrong. */
export async function* packOf(answer: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let isInPack = false;
  let isOver = false;
  // To the very end, also after the pack's: a connection that was read to its end can be used again.
  for await (const bytes of readPackets(answer)) {
    if (isOver) continue;
    if (!isInPack) {
      const line = bytes?.toString('latin1').trimEnd() ?? '';
      if (line !== 'packfile')
        throw new Error(`The remote answered with something else than a pack: ${line.slice(0, 200)}`);
      isInPack = true;
    } else if (bytes === undefined) isOver = true;
    else if (bytes[0] === BAND.data) yield bytes.subarray(1);
    else if (bytes[0] !== BAND.progress)
      throw new Error(`remote: ${bytes.subarray(1).toString('latin1').trim().slice(0, 200)}`);
  }
  if (!isOver) throw new Error('The remote cut its answer short');
}

/** What is in each packet; undefined for one that only separates. */
async function* readPackets(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer | undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEAD) {
      const length = lengthAt(bytes, at);
      if (length < HEAD) {
        yield undefined;
        at += HEAD;
        continue;
      }
      if (bytes.length - at < length) break;
      yield bytes.subarray(at + HEAD, at + length);
      at += length;
    }
    rest = bytes.subarray(at);
  }
  if (rest.length > 0) throw new Error('The remote cut its answer short');
}

function lengthAt(bytes: Buffer, at: number): number {
  const digits = bytes.toString('latin1', at, at + HEAD);
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new Error('The remote answered with something else than packets');
  return Number.parseInt(digits, 16);
}
