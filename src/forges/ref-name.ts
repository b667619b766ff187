/** Allow-lists for what a stranger may name: references, branches and object ids. Pure. */

const LONGEST_REF = 1024;
// \p{Cc}: CR, LF, NUL, ESC, DEL and the C1 controls; \p{Cs}: half a surrogate pair; the rest is what git reserves.
const FORBIDDEN = /[\p{Cc}\p{Cs} ~^:?*[\\]/u;

/** True for a full reference (`refs/heads/x`) under the grammar of `git check-ref-format`, without control characters. */
export function isRefName(ref: string): boolean {
  if (!ref.startsWith('refs/') || ref.length > LONGEST_REF) return false;
  if (FORBIDDEN.test(ref) || ref.includes('..') || ref.includes('@{') || ref.endsWith('.')) return false;
  const parts = ref.split('/');
  return parts.length >= 3 && parts.every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock'));
}

/** True for a name that git would let a branch or tag have: not an option (`-x`), not `HEAD`. */
export function isBranchName(name: string): boolean {
  return !name.startsWith('-') && name !== 'HEAD' && isRefName(`refs/heads/${name}`);
}

/** True for a full lower-case object id (SHA-1 or SHA-256) that names something: all zeros stands for nothing. */
export function isObjectId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text) && !isZeroId(text);
}

/** All zeros is how forges say "there is none": the ref was created, or deleted. */
export function isZeroId(text: string): boolean {
  return /^0+$/.test(text);
}
