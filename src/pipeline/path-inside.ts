/** A relative path that cannot leave the folder it is relative to. */
export function isInside(path: string): boolean {
  return !/^[/~]|[\0\\]/.test(path) && !path.split('/').includes('..');
}
