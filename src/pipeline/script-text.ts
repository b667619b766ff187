/** A script written as text or as a list of lines. */
export function toText(run: string | readonly string[]): string {
  return typeof run === 'string' ? run : run.join('\n');
}
