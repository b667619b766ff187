const HOST = '(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?(?:\\.[A-Za-z0-9-]{1,63}){0,10}(?::[0-9]{1,5})?/)?';
const PART = '[a-z0-9]+(?:(?:\\.|__?|-{1,5})[a-z0-9]+){0,30}';
const REFERENCE = new RegExp(
  `^${HOST}${PART}(?:/${PART}){0,10}(?<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?<digest>@sha256:[0-9a-f]{64})?$`,
);
const MAX_LENGTH = 400;

/** Tag and digest of an image by the OCI reference grammar; undefined when it is none: `alpine;id`, `--privileged`. */
export function parseImageReference(text: string): { tag?: string; digest?: string } | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const groups = REFERENCE.exec(text)?.groups;
  if (!groups) return undefined;
  const { tag, digest } = groups;
  return { ...(tag ? { tag: tag.slice(1) } : {}), ...(digest ? { digest: digest.slice(1) } : {}) };
}
