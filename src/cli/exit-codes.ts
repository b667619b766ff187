/** What a command's exit code means, for every command. */
export const EXIT = { passed: 0, failed: 1, cancelled: 2, infrastructure: 3, notAllowed: 4, usage: 64 } as const;
