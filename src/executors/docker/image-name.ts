/** Names of images as a pipeline writes them: a stranger's text, so only what the grammar of references allows passes. */
import { InputError } from '../../errors.ts';

export interface ImageName {
  /** As given, with `:latest` when it had neither tag nor digest. */
  full: string;
  /** `docker.io`, `registry.example.com:5000`. */
  registry: string;
}

const HOST =
  '(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?';
const PART = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const REFERENCE = new RegExp(
  `^(?:(?<host>${HOST})/)?(?<path>${PART}(?:/${PART})*)(?<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?<digest>@sha256:[0-9a-f]{64})?$`,
);
const LONGEST = 512;

/** Throws InputError `image-name` for what is no reference to an image. */
export function parseImageName(text: string): ImageName {
  const match = text.length <= LONGEST ? REFERENCE.exec(text) : null;
  if (!match?.groups) throw new InputError('image-name', `"${text.slice(0, 100)}" is not the name of an image`);
  const { host, path = '', tag, digest } = match.groups;
  // `owner/name` has no registry; `host.example/name`, `host:5000/name` and `localhost/name` have.
  const isHost = host !== undefined && (/[.:[]/.test(host) || host === 'localhost');
  if (host !== undefined && !isHost && /[A-Z]/.test(host))
    throw new InputError('image-name', `"${text}" is not the name of an image: no capitals in "${host}"`);
  const name = host === undefined ? path : `${host}/${path}`;
  const version = tag === undefined && digest === undefined ? ':latest' : `${tag ?? ''}${digest ?? ''}`;
  return { full: `${name}${version}`, registry: isHost ? host : 'docker.io' };
}

/** Names one image for good; a tag may mean another tomorrow. */
export function isPinned(image: string): boolean {
  return image.includes('@sha256:');
}
