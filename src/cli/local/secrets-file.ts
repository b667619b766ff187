import { readFileSync } from 'node:fs';
import { InputError, whyUnreadable } from '../../errors.ts';
import { parseAssignments } from '../../worker/handover.ts';

/**
 * Secrets by name from a file of lines `NAME=value` (or `NAME<<END` ... `END`), `#` begins a comment; `-` is stdin. Throws
 * InputError `secrets-file`, which names lines but shows nothing of them.
 */
export function readSecretsFile(path: string): Map<string, string> {
  const bad: number[] = [];
  const found = parseAssignments(
    readText(path).replace(/^#.*$/gm, ''),
    (name) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? undefined : 'not a name'),
    (line) => bad.push(line),
  );
  if (bad.length > 0)
    throw new InputError('secrets-file', `${path}: line ${bad.join(', ')}: not of the form NAME=value`);
  return found;
}

function readText(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new InputError('secrets-file', `The file of the secrets, ${path}, ${whyUnreadable(error)}`, { cause: error });
  }
}
