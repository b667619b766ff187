/** A line of a secret shorter than this is left alone: masking `{` or `},` would hide half of every log. */
const SHORTEST_LINE = 6;
/** An encoded fragment shorter than this says too little and would match by chance. */
const SHORTEST_FRAGMENT = 4;
/** Where `base64` and `openssl base64` break lines. */
const WRAPS = [76, 64];

/**
 * The forms in which a secret is hidden: itself, each long line of it, and of both: base64 wherever it stands in the
 * encoded text (also broken into lines), base64url, URL-encoded, JSON-escaped, quoted as `bash -x` prints it.
 * What a step can make of it beyond that (reversed, base58, base64 twice, a character a line) nobody can foresee.
 */
export function maskedForms(secret: string): string[] {
  const whole = secret.trim();
  const lines = whole.split(/\r?\n/).map((line) => line.trim());
  const long = lines.length > 1 ? lines.filter((line) => line.length >= SHORTEST_LINE) : [];
  return [...new Set([whole, ...long].flatMap(encodedForms).filter((form) => form.length >= 3))];
}

function encodedForms(text: string): string[] {
  const json = JSON.stringify(text).slice(1, -1);
  return [
    text,
    json,
    json.replaceAll('/', '\\/'),
    text.replaceAll("'", "'\\''"),
    ...urlForms(text),
    ...base64Forms(text),
  ];
}

function urlForms(text: string): string[] {
  // Through a buffer: half a surrogate pair, which encodeURIComponent throws on, is no valid output anyway.
  const plain = encodeURIComponent(Buffer.from(text).toString());
  const strict = plain.replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
  const upper = [plain, strict, strict.replaceAll('%20', '+')];
  return [...upper, ...upper.map((form) => form.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()))];
}

function base64Forms(text: string): string[] {
  const bytes = Buffer.from(text);
  // Alone, with its padding, and as `echo "$S" | base64` has it.
  const alone = [bytes, Buffer.from(`${text}\n`)].map((value) => value.toString('base64'));
  const within = [0, 1, 2].map((shift) => base64Core(bytes, shift));
  const wrapped = WRAPS.flatMap((width) => alone.flatMap((form) => breakLines(form, width)));
  const unpadded = alone.map((form) => form.replace(/=+$/, ''));
  const all = [...alone, ...unpadded, ...within, ...wrapped].filter((form) => form.length >= SHORTEST_FRAGMENT);
  return all.flatMap((form) => [form, form.replaceAll('+', '-').replaceAll('/', '_')]);
}

/** The characters that these bytes alone decide when `shift` bytes (modulo 3) stand before them. */
function base64Core(bytes: Buffer, shift: number): string {
  const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
  return encoded.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + bytes.length) * 8) / 6));
}

function breakLines(text: string, width: number): string[] {
  if (text.length <= width) return [];
  const lines = Array.from({ length: Math.ceil(text.length / width) }, (_, n) =>
    text.slice(n * width, (n + 1) * width),
  );
  return lines.filter((line) => line.length >= 2 * SHORTEST_FRAGMENT);
}
