/** The number after an option of the command line, if it is there. */
export function numberArgument(name: string): number | undefined {
  const at = process.argv.indexOf(name);
  const value = at < 0 ? Number.NaN : Number(process.argv[at + 1]);
  return Number.isFinite(value) ? value : undefined;
}

/** What stands behind `name=` on the command line, if it is there. */
export function textArgument(name: string): string | undefined {
  return process.argv.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
}
